//! Scaled dot-product attention with a causal mask, exact (no approximation of the softmax).

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::{Matrix, Parallel, Products, RelativeBias, View, ViewMut, exp};
use crate::portable::{Panels, Strided};
use crate::wide::wide;

/// Query rows that a thread takes at a time: few enough that their scores stay in the cache.
const QUERIES: usize = 64;
const LANES: usize = 16;

/// Heads and masks of an attention layer.
#[derive(Clone, Debug)]
pub(crate) struct AttentionShape {
    /// Query heads.
    pub(crate) heads: usize,
    /// Key and value heads; a divisor of `heads`.
    pub(crate) kv_heads: usize,
    /// Elements of a query or key head.
    pub(crate) key_len: usize,
    /// Elements of a value head.
    pub(crate) value_len: usize,
    /// Factor on the scores.
    pub(crate) scale: f32,
    /// `cap * tanh(score / cap)`.
    pub(crate) softcap: Option<f32>,
    /// Number of latest keys, its own included, that a query sees; where it sees later ones too, those that are
    /// no further away than half of this.
    pub(crate) window: Option<usize>,
    /// ALiBi: scores fall with the distance, by slopes that go down to 2^-bias over the heads.
    pub(crate) max_alibi_bias: Option<f32>,
    /// Added to the scores by the distance of the key.
    pub(crate) relative: Option<Arc<RelativeBias>>,
    /// Length of the pieces that a window is cut into; a query sees the keys of its own piece.
    pub(crate) chunk: Option<usize>,
    /// One score for each head that takes part in the softmax and has no value.
    pub(crate) sinks: Option<Arc<[f32]>>,
    /// Whether a query sees no later keys.
    pub(crate) causal: bool,
}

impl AttentionShape {
    /// Heads that see everything before them and have nothing special.
    pub(crate) fn plain(heads: usize, kv_heads: usize, key_len: usize, value_len: usize, scale: f32) -> Self {
        Self {
            heads,
            kv_heads,
            key_len,
            value_len,
            scale,
            softcap: None,
            window: None,
            max_alibi_bias: None,
            relative: None,
            chunk: None,
            sinks: None,
            causal: true,
        }
    }
}

impl AttentionShape {
    /// Queries, keys, values and what is made of them, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        (self.heads + self.kv_heads) * (self.key_len + self.value_len)
    }

    /// The keys that a query sees, without regard to pieces.
    fn seen(&self, span: &Range<usize>, query: usize, window: Option<usize>) -> Range<usize> {
        match (self.causal, window) {
            (true, None) => span.start..query + 1,
            (true, Some(n)) => span.start.max((query + 1).saturating_sub(n))..query + 1,
            (false, None) => span.clone(),
            (false, Some(n)) => {
                let first = span.start.max(query.saturating_sub(n / 2));
                first..span.end.min(query.saturating_add(n / 2 + 1))
            }
        }
    }

    /// Turns the scores of one query for the keys from row `first_key` on into the weights of their values; keys that it
    /// does not see have none. `span` is the window of both.
    pub(crate) fn weigh(
        &self,
        scores: &mut [f32],
        span: &Range<usize>,
        query: usize,
        first_key: usize,
        head: usize,
    ) {
        let seen = self.seen(span, query, self.window);
        let visible = seen.end - first_key;
        let mut hidden = seen.start - first_key;
        if let Some(chunk) = self.chunk {
            let start = span.start + (query - span.start) / chunk * chunk;
            hidden = hidden.max(start - first_key);
        }
        scores[..hidden].fill(0.0);
        scores[visible..].fill(0.0);
        let scores = &mut scores[hidden..visible];
        if let Some(cap) = self.softcap {
            for s in scores.iter_mut() {
                *s = cap * (*s / cap).tanh();
            }
        }
        if let Some(slope) = self.slope(head) {
            for (s, key) in scores.iter_mut().zip(first_key + hidden..) {
                *s -= slope * query.abs_diff(key) as f32;
            }
        }
        if let Some(relative) = &self.relative {
            relative.add_to(scores, query, first_key + hidden, head);
        }
        match &self.sinks {
            Some(sinks) => wide(
                #[inline(always)]
                || softmax_with(scores, sinks[head]),
            ),
            None => softmax(scores),
        }
    }

    /// ALiBi's slope of a head ("Train Short, Test Long", 2021): powers of 2^(-bias/n) for the first n heads,
    /// n being a power of two, and odd powers of its root for the rest.
    fn slope(&self, head: usize) -> Option<f32> {
        let bias = self.max_alibi_bias?;
        let whole = 1 << self.heads.max(1).ilog2();
        let exponent = match head < whole {
            true => (head + 1) as f32 / whole as f32,
            false => (2 * (head - whole) + 1) as f32 / (2 * whole) as f32,
        };
        Some((-bias * exponent).exp2())
    }
}

/// Attention inside each window. Shapes: `q` rows x heads*key_len, `k` rows x kv_heads*key_len, `v` rows x
/// kv_heads*value_len, `out` rows x heads*value_len. `windows` are consecutive row ranges that cover all
/// rows.
pub(crate) fn attend(
    q: &Matrix,
    k: &Matrix,
    v: &Matrix,
    out: &mut Matrix,
    windows: &[Range<usize>],
    shape: &AttentionShape,
    products: Products,
) {
    attend_across(q, k, v, out, [windows, windows], shape, products);
}

/// The same of queries that see the keys of other rows: those of each window of the first list those of the window of the
/// second that stands in its place. Where these are not the same rows, every query sees all keys of its window.
pub(crate) fn attend_across(
    q: &Matrix,
    k: &Matrix,
    v: &Matrix,
    out: &mut Matrix,
    windows: [&[Range<usize>]; 2],
    shape: &AttentionShape,
    products: Products,
) {
    let width = out.cols;
    let mut jobs = Vec::new();
    let mut rest = out.data.as_mut_slice();
    let [of_queries, of_keys] = windows;
    for (window, keys) in of_queries.iter().zip(of_keys) {
        for start in window.clone().step_by(QUERIES) {
            let queries = start..window.end.min(start + QUERIES);
            let (mine, others) = rest.split_at_mut(queries.len() * width);
            rest = others;
            jobs.push((keys.clone(), queries, mine));
        }
    }
    // The last blocks of a window see the most keys: taken first, they leave small ones to even out.
    jobs.sort_by_key(|(window, queries, _)| window.start.wrapping_sub(queries.end) as isize);
    jobs.into_par_iter().with_max_len(1).for_each_init(
        Working::default,
        |working, (window, queries, out)| {
            block(q, k, v, out, working, window, queries, shape, products);
        },
    );
}

/// The same for queries that each see the keys (rows) in `chosen` alone: one list for each query, or one for each group
/// of its heads, these in turn. There may be more keys than queries. Without windows, caps or biases.
pub(crate) fn attend_chosen(
    q: &Matrix,
    k: &Matrix,
    v: &Matrix,
    out: &mut Matrix,
    chosen: &[Vec<usize>],
    shape: &AttentionShape,
) {
    let (cols, share) = (out.cols, shape.heads / shape.kv_heads);
    let groups = (chosen.len() / out.rows.max(1)).max(1);
    let group = (shape.heads / groups).max(1);
    out.data
        .par_chunks_exact_mut(cols)
        .zip(q.data.par_chunks_exact(q.cols))
        .zip(chosen.par_chunks_exact(groups))
        .for_each(|((out, q), of_groups)| {
            let heads = out.chunks_exact_mut(shape.value_len);
            for (head, (out, q)) in heads.zip(q.chunks_exact(shape.key_len)).enumerate() {
                let at = |m: &Matrix, row: usize, len: usize| row * m.cols + head / share * len;
                let score = |&row: &usize| {
                    let key = &k.data[at(k, row, shape.key_len)..][..shape.key_len];
                    q.iter().zip(key).map(|(a, b)| a * b).sum::<f32>() * shape.scale
                };
                let keys = &of_groups[(head / group).min(groups - 1)];
                let mut scores: Vec<f32> = keys.iter().map(score).collect();
                match &shape.sinks {
                    Some(sinks) => softmax_with(&mut scores, sinks[head]),
                    None => softmax(&mut scores),
                }
                out.fill(0.0);
                for (&row, weight) in keys.iter().zip(scores) {
                    let value = &v.data[at(v, row, shape.value_len)..][..shape.value_len];
                    for (o, x) in out.iter_mut().zip(value) {
                        *o += weight * x;
                    }
                }
            }
        });
}

/// The buffers of one block of queries.
#[derive(Default)]
struct Working {
    scores: Vec<f32>,
    /// The keys of a head, transposed.
    keys: Panels,
    values: Panels,
}

/// All heads of one block of queries.
#[allow(
    clippy::too_many_arguments,
    reason = "one block's operands, called from one place"
)]
fn block(
    q: &Matrix,
    k: &Matrix,
    v: &Matrix,
    out: &mut [f32],
    working: &mut Working,
    span: Range<usize>,
    queries: Range<usize>,
    shape: &AttentionShape,
    products: Products,
) {
    let &AttentionShape {
        heads,
        kv_heads,
        key_len,
        value_len,
        window,
        ..
    } = shape;
    let first_key = shape.seen(&span, queries.start, window).start;
    let keys = shape.seen(&span, queries.end - 1, window).end - first_key;
    let rows = queries.len();
    let group = heads / kv_heads;
    for kv in 0..kv_heads {
        let head_of = |m: &'_ Matrix, len: usize| (first_key * m.cols + kv * len, m.cols);
        let ((k_at, k_stride), (v_at, v_stride)) = (head_of(k, key_len), head_of(v, value_len));
        let k = View::strided(&k.data[k_at..], keys, key_len, k_stride, 1).transposed();
        let v = View::strided(&v.data[v_at..], keys, value_len, v_stride, 1);
        if products.in_panels() {
            working.keys.refill(k.as_strided());
            working.values.refill(v.as_strided());
        }
        for head in kv * group..(kv + 1) * group {
            let q = &q.data[queries.start * q.cols + head * key_len..];
            let q = View::strided(q, rows, key_len, heads * key_len, 1);
            let out = &mut out[head * value_len..];
            let weigh = |scores: &mut [f32], query: usize| {
                shape.weigh(scores, &span, queries.start + query, first_key, head);
            };
            if products.in_panels() {
                let seen = |query: usize| shape.seen(&span, queries.start + query, window).end - first_key;
                in_panels(q.as_strided(), working, out, shape, seen, weigh);
                continue;
            }
            let scores = &mut working.scores;
            scores.resize(rows * keys, 0.0);
            let to = ViewMut::rows(scores, rows, keys);
            products.multiply(to, q, k, shape.scale, Parallel::No);
            for (query, scores) in scores.chunks_exact_mut(keys).enumerate() {
                weigh(scores, query);
            }
            let out = ViewMut::strided(out, rows, value_len, heads * value_len);
            products.multiply(out, View::rows(scores, rows, keys), v, 1.0, Parallel::No);
        }
    }
}

/// One head of a block of queries, a few at a time, for the keys that one of these sees: their scores stay in the
/// nearest cache. `seen` gives the number of keys up to the last that a query sees, `weigh` the weights of scores.
fn in_panels(
    q: Strided<'_>,
    working: &mut Working,
    out: &mut [f32],
    shape: &AttentionShape,
    seen: impl Fn(usize) -> usize,
    weigh: impl Fn(&mut [f32], usize),
) {
    let width = shape.heads * shape.value_len;
    for first in (0..q.rows).step_by(Panels::ROWS) {
        let rows = Panels::ROWS.min(q.rows - first);
        let keys = seen(first + rows - 1);
        // Neighbouring rows a line apart do not fall on one another in the cache.
        let stride = keys.next_multiple_of(Panels::COLUMNS) + Panels::COLUMNS;
        working.scores.resize(rows * stride, 0.0);
        let scores = &mut working.scores[..];
        let few = Strided {
            data: &q.data[first * q.row_stride..],
            rows,
            ..q
        };
        working.keys.multiply(few, 0..keys, scores, stride, shape.scale);
        for (row, scores) in scores.chunks_exact_mut(stride).enumerate() {
            weigh(&mut scores[..keys], first + row);
        }
        let weights = Strided {
            data: scores,
            rows,
            columns: keys,
            row_stride: stride,
            column_stride: 1,
        };
        let out = &mut out[first * width..];
        working
            .values
            .multiply(weights, 0..shape.value_len, out, width, 1.0);
    }
}

/// e^(x - max) divided by their sum, in place.
pub(crate) fn softmax(x: &mut [f32]) {
    wide(
        #[inline(always)]
        || softmax_of(x),
    );
}

/// The same; gives the maximum and the sum.
#[inline(always)]
fn softmax_of(x: &mut [f32]) -> (f32, f64) {
    let max = max(x);
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (s, x) in sums.iter_mut().zip(chunk) {
            *x = exp(*x - max);
            *s += *x;
        }
    }
    let mut sum = sums.iter().map(|&s| f64::from(s)).sum::<f64>();
    for x in rest {
        *x = exp(*x - max);
        sum += f64::from(*x);
    }
    let scale = (1.0 / sum) as f32;
    for x in x {
        *x *= scale;
    }
    (max, sum)
}

/// The same with one more number, which only takes its share.
#[inline(always)]
fn softmax_with(x: &mut [f32], sink: f32) {
    let (max, sum) = softmax_of(x);
    let kept = (sum / (sum + f64::from(sink - max).exp())) as f32;
    x.iter_mut().for_each(|x| *x *= kept);
}

/// The largest element (NaN is passed over); negative infinity of nothing.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (m, &x) in maxima.iter_mut().zip(chunk) {
            *m = if x > *m { x } else { *m };
        }
    }
    maxima
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(rows: usize, cols: usize, seed: usize) -> Matrix {
        let data = (0..rows * cols)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0)
            .collect();
        Matrix { rows, cols, data }
    }

    /// Queries of other rows than the keys see all keys of their window, as a query without a mask does.
    #[test]
    fn queries_see_the_keys_of_the_window_in_their_place() {
        let shape = AttentionShape {
            causal: false,
            ..AttentionShape::plain(2, 2, 4, 4, 0.7)
        };
        let (q, k, v) = (numbers(90, 8, 1), numbers(12, 8, 2), numbers(12, 8, 3));
        let mut out = numbers(90, 8, 4);
        let (queries, keys) = ([0..70, 70..90], [0..5, 5..12]);
        attend_across(&q, &k, &v, &mut out, [&queries, &keys], &shape, Products::Fast);
        let mut chosen = numbers(90, 8, 5);
        let seen: Vec<Vec<usize>> = (0..90)
            .map(|row| keys[usize::from(row >= 70)].clone().collect())
            .collect();
        attend_chosen(&q, &k, &v, &mut chosen, &seen, &shape);
        for (got, want) in out.data.iter().zip(&chosen.data) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    /// The definition, in f64.
    fn naive(q: &Matrix, k: &Matrix, v: &Matrix, windows: &[Range<usize>], s: &AttentionShape) -> Vec<f64> {
        let mut out = vec![0.0; q.rows * s.heads * s.value_len];
        for w in windows {
            for i in w.clone() {
                for h in 0..s.heads {
                    let kv = h / (s.heads / s.kv_heads);
                    let seen: Vec<usize> = (w.start..=i)
                        .filter(|j| s.window.is_none_or(|n| i - j < n))
                        .collect();
                    let scores: Vec<f64> = seen
                        .iter()
                        .map(|&j| {
                            let dot: f64 = (0..s.key_len)
                                .map(|d| {
                                    f64::from(q.data[i * q.cols + h * s.key_len + d])
                                        * f64::from(k.data[j * k.cols + kv * s.key_len + d])
                                })
                                .sum();
                            let x = dot * f64::from(s.scale);
                            s.softcap.map_or(x, |c| f64::from(c) * (x / f64::from(c)).tanh())
                        })
                        .collect();
                    let total: f64 = scores.iter().map(|x| x.exp()).sum();
                    for d in 0..s.value_len {
                        out[(i * s.heads + h) * s.value_len + d] = seen
                            .iter()
                            .zip(&scores)
                            .map(|(&j, x)| {
                                x.exp() / total * f64::from(v.data[j * v.cols + kv * s.value_len + d])
                            })
                            .sum();
                    }
                }
            }
        }
        out
    }

    #[test]
    fn alibi_slopes_are_those_of_the_paper() {
        let shape = |heads| AttentionShape {
            heads,
            kv_heads: heads,
            key_len: 1,
            value_len: 1,
            scale: 1.0,
            softcap: None,
            window: None,
            max_alibi_bias: Some(8.0),
            relative: None,
            chunk: None,
            sinks: None,
            causal: true,
        };
        let slopes = |heads| {
            (0..heads)
                .map(|h| shape(heads).slope(h).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
        assert_eq!(slopes(6)[4..], [0.5, 0.125]);
    }

    #[test]
    fn equals_the_definition() {
        for (window, softcap) in [(None, None), (Some(1), None), (Some(70), None), (None, Some(2.0))] {
            let shape = AttentionShape {
                heads: 4,
                kv_heads: 2,
                key_len: 8,
                value_len: 6,
                scale: 0.9,
                softcap,
                window,
                max_alibi_bias: None,
                relative: None,
                chunk: None,
                sinks: None,
                causal: true,
            };
            let windows = [0..150, 150..153, 153..154];
            let (q, k, v) = (numbers(154, 32, 1), numbers(154, 16, 2), numbers(154, 12, 3));
            let mut out = Matrix {
                rows: 154,
                cols: 24,
                data: vec![f32::NAN; 154 * 24],
            };
            attend(&q, &k, &v, &mut out, &windows, &shape, Products::Fast);
            for (got, want) in out.data.iter().zip(naive(&q, &k, &v, &windows, &shape)) {
                assert!(
                    (f64::from(*got) - want).abs() < 2e-6,
                    "{got} {want} {window:?} {softcap:?}"
                );
            }
        }
    }

    #[test]
    fn windows_reach_to_both_sides_where_later_keys_are_seen() {
        let causal = AttentionShape::plain(1, 1, 4, 4, 1.0);
        let both = AttentionShape {
            causal: false,
            ..causal.clone()
        };
        let span = 10..20;
        assert_eq!(causal.seen(&span, 15, None), 10..16);
        assert_eq!(causal.seen(&span, 15, Some(3)), 13..16);
        assert_eq!(both.seen(&span, 15, None), 10..20);
        assert_eq!(both.seen(&span, 15, Some(6)), 12..19);
        assert_eq!(both.seen(&span, 11, Some(6)), 10..15);
        assert_eq!(both.seen(&span, 19, Some(6)), 16..20);
    }
}
