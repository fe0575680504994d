//! Operations that pass along a window token by token: causal convolutions and selective state spaces.

use std::ops::Range;

use rayon::prelude::*;

use super::{Matrix, exp};

/// ln(1 + e^x)
pub(crate) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { exp(x).ln_1p() }
}

/// 1 / (1 + e^-x)
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Runs `channel(number, window, out)` for every channel of every window and lays what it writes (one number
/// for each token of the window) into the columns of `out`.
fn by_channel(
    out: &mut Matrix,
    windows: &[Range<usize>],
    channel: impl Fn(usize, &Range<usize>, &mut [f32]) + Sync,
) {
    let cols = out.cols;
    let mut column = Vec::new();
    for window in windows {
        let tokens = window.len();
        column.resize(cols * tokens, 0.0);
        column
            .par_chunks_exact_mut(tokens.max(1))
            .enumerate()
            .with_min_len(8)
            .for_each(|(c, values)| channel(c, window, values));
        for (t, row) in out.data[window.start * cols..window.end * cols]
            .chunks_exact_mut(cols.max(1))
            .enumerate()
        {
            for (x, values) in row.iter_mut().zip(column.chunks_exact(tokens)) {
                *x = values[t];
            }
        }
    }
}

/// A convolution of each channel by itself over the latest tokens. `weight` holds `width` numbers for each
/// channel, the one for the current token last; before a window there are zeros. `x` starts at `first` of each
/// row.
pub(crate) fn convolve(
    x: &Matrix,
    first: usize,
    weight: &[f32],
    bias: &[f32],
    out: &mut Matrix,
    windows: &[Range<usize>],
) {
    let width = weight.len() / out.cols.max(1);
    by_channel(out, windows, |c, window, values| {
        let weight = &weight[c * width..][..width];
        let bias = bias.get(c).copied().unwrap_or(0.0);
        for (t, y) in values.iter_mut().enumerate() {
            let mut sum = bias;
            for (back, w) in weight.iter().rev().enumerate().take(t + 1) {
                sum += w * x.data[(window.start + t - back) * x.cols + first + c];
            }
            *y = sum;
        }
    });
}

/// The same with positions on both sides, which have to be as many: of an even width, one more lies before.
pub(crate) fn convolve_centered(
    x: &Matrix,
    weight: &[f32],
    bias: &[f32],
    out: &mut Matrix,
    windows: &[Range<usize>],
) {
    let width = weight.len() / out.cols.max(1);
    let ahead = width.saturating_sub(1) / 2;
    by_channel(out, windows, |c, window, values| {
        let weight = &weight[c * width..][..width];
        let bias = bias.get(c).copied().unwrap_or(0.0);
        for (t, y) in values.iter_mut().enumerate() {
            let mut sum = bias;
            for (at, w) in weight.iter().enumerate() {
                // Counted from the position that is the farthest before.
                let Some(position) = (t + at + ahead + 1)
                    .checked_sub(width)
                    .filter(|&p| p < window.len())
                else {
                    continue;
                };
                sum += w * x.data[(window.start + position) * x.cols + c];
            }
            *y = sum;
        }
    });
}

/// The parameters of a selective state space ("Mamba", 2023; "Transformers are SSMs", 2024).
#[derive(Debug)]
pub(crate) struct StateSpace<'a> {
    /// States of a channel.
    pub(crate) states: usize,
    /// Channels that share a time step.
    pub(crate) head_len: usize,
    /// Heads that share B and C.
    pub(crate) group_heads: usize,
    /// Decay: one number for each state of each head, or one for each head.
    pub(crate) a: &'a [f32],
    /// Skip connection past the states: one number for each head.
    pub(crate) d: &'a [f32],
}

/// `s = exp(dt a) s + dt B x; y = C s + d x` for every channel. `x` rows of channels; `dt` rows of heads
/// (positive); `b` and `c` rows of groups of states.
pub(crate) fn scan(
    space: &StateSpace<'_>,
    x: &Matrix,
    dt: &Matrix,
    b: &Matrix,
    c: &Matrix,
    out: &mut Matrix,
    windows: &[Range<usize>],
) {
    let n = space.states;
    let heads = dt.cols;
    let each = space.a.len() == heads * n;
    by_channel(out, windows, |channel, window, values| {
        let head = channel / space.head_len;
        let group = head / space.group_heads;
        let mut state = vec![0f32; n];
        for (t, y) in window.clone().zip(values) {
            let step = dt.data[t * heads + head];
            let input = x.data[t * x.cols + channel];
            let b = &b.data[t * b.cols + group * n..][..n];
            let c = &c.data[t * c.cols + group * n..][..n];
            let mut sum = 0.0;
            if each {
                let a = &space.a[head * n..][..n];
                for (((s, a), b), c) in state.iter_mut().zip(a).zip(b).zip(c) {
                    *s = *s * exp(step * a) + b * (input * step);
                    sum += *s * c;
                }
            } else {
                let decay = exp(step * space.a[head]);
                for ((s, b), c) in state.iter_mut().zip(b).zip(c) {
                    *s = *s * decay + b * (input * step);
                    sum += *s * c;
                }
            }
            *y = sum + space.d[head] * input;
        }
    });
}

/// The gated delta rule ("Gated Delta Networks", 2024; "Kimi Linear", 2025): `S = g S; S += k (beta (v - S k)); y = S
/// q` for each value head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeltaRule {
    pub(crate) key_len: usize,
    pub(crate) value_len: usize,
    /// Whether value heads go with the key heads in turn; else the values of a key head follow one another.
    pub(crate) in_turn: bool,
}

impl DeltaRule {
    /// `q` and `k` rows of key heads, `v` and `out` rows of value heads. `g` has one number for each value head or
    /// one for each element of its key, `beta` one for each value head.
    #[allow(clippy::too_many_arguments, reason = "one layer's operands")]
    pub(crate) fn apply(
        self,
        q: &Matrix,
        k: &Matrix,
        v: &Matrix,
        g: &Matrix,
        beta: &Matrix,
        out: &mut Matrix,
        windows: &[Range<usize>],
    ) {
        let Self {
            key_len, value_len, ..
        } = self;
        let (heads, key_heads) = (v.cols / value_len, k.cols / key_len);
        let share = heads / key_heads;
        let each = g.cols == heads * key_len;
        // One element of the value sees one column of the state, which no other sees.
        by_channel(out, windows, |channel, window, values| {
            let head = channel / value_len;
            let key_head = if self.in_turn {
                head % key_heads
            } else {
                head / share
            };
            let mut state = vec![0f32; key_len];
            for (t, y) in window.clone().zip(values) {
                let key = &k.data[t * k.cols + key_head * key_len..][..key_len];
                let query = &q.data[t * q.cols + key_head * key_len..][..key_len];
                let decays = match each {
                    true => &g.data[t * g.cols + head * key_len..][..key_len],
                    false => &g.data[t * g.cols + head..][..1],
                };
                let mut known = 0.0;
                for (i, (s, k)) in state.iter_mut().zip(key).enumerate() {
                    *s *= decays[if each { i } else { 0 }];
                    known += *s * k;
                }
                let delta = (v.data[t * v.cols + channel] - known) * beta.data[t * beta.cols + head];
                let mut sum = 0.0;
                for ((s, k), q) in state.iter_mut().zip(key).zip(query) {
                    *s += k * delta;
                    sum += *s * q;
                }
                *y = sum;
            }
        });
    }
}

/// `S = g S + k v; y = q S` for each head of `head_len`, with one decay `g` for each. `q`, `k`, `v` and `out` are rows of
/// heads.
pub(crate) fn decaying_sums(
    [q, k, v]: [&Matrix; 3],
    decays: &[f32],
    head_len: usize,
    out: &mut Matrix,
    windows: &[Range<usize>],
) {
    by_channel(out, windows, |channel, window, values| {
        let head = channel / head_len;
        let decay = decays[head];
        let mut state = vec![0f32; head_len];
        for (t, y) in window.clone().zip(values) {
            let part = |m: &Matrix| t * m.cols + head * head_len..t * m.cols + (head + 1) * head_len;
            let value = v.data[t * v.cols + channel];
            let mut sum = 0.0;
            for ((s, k), q) in state.iter_mut().zip(&k.data[part(k)]).zip(&q.data[part(q)]) {
                *s = *s * decay + k * value;
                sum += *s * q;
            }
            *y = sum;
        }
    });
}

/// RWKV 6: `y = r (S + u k v); S = w S + k v` for each head of `head_len`. All operands are rows of heads; `first` (u)
/// has one number for each column. Without it the token is in the state before that is read: `S = w S + k v; y = r S`.
#[allow(
    clippy::too_many_arguments,
    reason = "one layer's operands, called from one place"
)]
pub(crate) fn wkv_bonus(
    r: &Matrix,
    k: &Matrix,
    v: &Matrix,
    w: &Matrix,
    first: Option<&[f32]>,
    head_len: usize,
    out: &mut Matrix,
    windows: &[Range<usize>],
) {
    by_channel(out, windows, |channel, window, values| {
        let head = channel / head_len * head_len;
        let first = first.map(|first| &first[head..][..head_len]);
        let mut state = vec![0f32; head_len];
        for (t, y) in window.clone().zip(values) {
            let part = |m: &Matrix| t * m.cols + head..t * m.cols + head + head_len;
            let value = v.data[t * v.cols + channel];
            let (r, k, w) = (&r.data[part(r)], &k.data[part(k)], &w.data[part(w)]);
            let mut sum = 0.0;
            let step = state.iter_mut().zip(k).zip(r).zip(w);
            match first {
                Some(first) => {
                    for ((((s, k), r), w), u) in step.zip(first) {
                        let added = k * value;
                        sum += (added * u + *s) * r;
                        *s = *s * w + added;
                    }
                }
                None => {
                    for (((s, k), r), w) in step {
                        *s = *s * w + k * value;
                        sum += *s * r;
                    }
                }
            }
            *y = sum;
        }
    });
}

/// The operands of [`wkv_delta`], rows of heads each.
pub(crate) struct WkvDelta<'a> {
    pub(crate) r: &'a Matrix,
    pub(crate) w: &'a Matrix,
    pub(crate) k: &'a Matrix,
    pub(crate) v: &'a Matrix,
    /// Key with which the state is read before each token.
    pub(crate) away: &'a Matrix,
    /// Key at which the answer is added.
    pub(crate) back: &'a Matrix,
}

/// RWKV 7: `S = w S + v k + (S away) back; y = S r` for each head of `head_len`.
pub(crate) fn wkv_delta(
    operands: &WkvDelta<'_>,
    head_len: usize,
    out: &mut Matrix,
    windows: &[Range<usize>],
) {
    let WkvDelta {
        r,
        w,
        k,
        v,
        away,
        back,
    } = operands;
    by_channel(out, windows, |channel, window, values| {
        let head = channel / head_len * head_len;
        let mut state = vec![0f32; head_len];
        for (t, y) in window.clone().zip(values) {
            let part = |m: &Matrix| t * m.cols + head..t * m.cols + head + head_len;
            let value = v.data[t * v.cols + channel];
            let known: f32 = state.iter().zip(&away.data[part(away)]).map(|(s, a)| s * a).sum();
            let (r, w) = (&r.data[part(r)], &w.data[part(w)]);
            let (k, back) = (&k.data[part(k)], &back.data[part(back)]);
            let mut sum = 0.0;
            for ((((s, r), w), k), b) in state.iter_mut().zip(r).zip(w).zip(k).zip(back) {
                *s = *s * w + value * k + known * b;
                sum += *s * r;
            }
            *y = sum;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, data: &[f32]) -> Matrix {
        let cols = data.len() / rows;
        Matrix {
            rows,
            cols,
            data: data.to_vec(),
        }
    }

    #[test]
    fn convolutions_see_the_latest_tokens_of_their_window() {
        let x = matrix(4, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0]);
        let mut out = matrix(4, &[0.0; 4]);
        convolve(&x, 1, &[2.0, 1.0], &[0.5], &mut out, &[0..3, 3..4]);
        assert_eq!(out.data, [10.5, 40.5, 70.5, 40.5]);
    }

    #[test]
    fn sums_decay_by_head() {
        let ones = matrix(3, &[1.0; 6]);
        let values = matrix(3, &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0]);
        let mut out = matrix(3, &[0.0; 6]);
        decaying_sums([&ones, &ones, &values], &[0.5, 0.0], 1, &mut out, &[0..2, 2..3]);
        assert_eq!(out.data, [1.0, 1.0, 2.5, 2.0, 4.0, 4.0]);
    }

    #[test]
    fn states_decay_and_add_up() {
        let space = StateSpace {
            states: 1,
            head_len: 1,
            group_heads: 1,
            a: &[0.0],
            d: &[1.0],
        };
        let (x, ones) = (matrix(3, &[1.0, 2.0, 3.0]), matrix(3, &[1.0; 3]));
        let mut out = matrix(3, &[0.0; 3]);
        scan(&space, &x, &ones, &ones, &ones, &mut out, &[0..3, 3..3]);
        assert_eq!(out.data, [2.0, 5.0, 9.0]);
    }
}
