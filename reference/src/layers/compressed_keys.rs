//! Keys that each stand for many tokens, and attention over them and over the latest keys (DeepSeek V4).

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::Result;
use crate::ops::{AttentionShape, Matrix, Norm, Rope, attend, attend_chosen, softmax};
use crate::run::Run;

use super::indexer::{highest, lightning_score};
use super::{GroupedLinear, LatentQuery, Linear};

/// Means of the vectors of `ratio` tokens each, weighted element by element by a softmax of scores.
#[derive(Clone, Debug)]
pub(crate) struct Compressor {
    pub(crate) values: Linear,
    /// Of each token's vector.
    pub(crate) value_norm: Option<Norm>,
    pub(crate) scores: Linear,
    /// Added to the scores: a row for each place among `ratio` tokens.
    pub(crate) places: Vec<f32>,
    /// Of the means.
    pub(crate) norm: Option<Norm>,
    /// By the position of the first token.
    pub(crate) rope: Option<Arc<Rope>>,
    pub(crate) ratio: usize,
    /// Elements of a key.
    pub(crate) len: usize,
    /// Whether a mean is of the tokens before too: their vectors are first in what `values` and `scores` make.
    pub(crate) overlaps: bool,
}

/// Keys of whole blocks of tokens.
#[derive(Debug)]
pub(crate) struct CompressedKeys {
    pub(crate) keys: Matrix,
    /// For each window its rows of `keys`.
    rows: Vec<Range<usize>>,
}

impl Compressor {
    fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<CompressedKeys> {
        let mut values = self.values.forward(run, x)?;
        if let Some(norm) = &self.value_norm {
            norm.apply(&mut values);
        }
        let mut scores = self.scores.forward(run, x)?;
        let wide = scores.cols;
        let rows = scores.data.chunks_exact_mut(wide);
        for (row, &position) in rows.zip(&run.positions) {
            let place = &self.places[position % self.ratio * wide..][..wide];
            row.iter_mut().zip(place).for_each(|(x, p)| *x += p);
        }
        let (mut firsts, mut positions, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for window in &run.windows {
            let start = firsts.len();
            for block in 0..window.len() / self.ratio {
                firsts.push((window.start, window.start + block * self.ratio));
                positions.push(block * self.ratio);
            }
            rows.push(start..firsts.len());
        }
        let mut keys = run.scratch.take(firsts.len(), self.len);
        let blocks = keys.data.par_chunks_exact_mut(self.len).zip(&firsts);
        blocks.for_each(|(key, &(window, first))| self.mean(key, window, first, &values, &scores));
        if let Some(norm) = &self.norm {
            norm.apply(&mut keys);
        }
        if let Some(rope) = &self.rope {
            rope.apply(&mut keys, self.len, &positions, &[]);
        }
        run.scratch.give(values);
        run.scratch.give(scores);
        Ok(CompressedKeys { keys, rows })
    }

    /// The mean of the block that begins with the row `first`.
    fn mean(&self, key: &mut [f32], window: usize, first: usize, values: &Matrix, scores: &Matrix) {
        // Rows and the first of their columns.
        let own = if self.overlaps { self.len } else { 0 };
        let before = match self.overlaps && first > window {
            true => first - self.ratio..first,
            false => first..first,
        };
        let parts: Vec<usize> = before
            .map(|row| row * values.cols)
            .chain((first..first + self.ratio).map(|row| row * values.cols + own))
            .collect();
        let mut weights = vec![0.0; parts.len()];
        for (element, y) in key.iter_mut().enumerate() {
            for (weight, at) in weights.iter_mut().zip(&parts) {
                *weight = scores.data[at + element];
            }
            softmax(&mut weights);
            let pairs = weights.iter().zip(&parts);
            *y = pairs.map(|(weight, at)| weight * values.data[at + element]).sum();
        }
    }
}

/// Choice of the keys of blocks that a query sees: the `keys` ones with the highest scores.
#[derive(Clone, Debug)]
pub(crate) struct CompressedChooser {
    /// From the short vectors that the layer's queries are made from.
    pub(crate) query: Linear,
    pub(crate) weights: Linear,
    pub(crate) rope: Option<Arc<Rope>>,
    pub(crate) compressor: Compressor,
    pub(crate) keys: usize,
    /// Whether tokens behind the last whole block are seen too.
    pub(crate) sees_rest: bool,
}

impl CompressedChooser {
    /// For each row the blocks of its window that it sees, of the whole ones up to it.
    fn choose(&self, run: &mut Run<'_>, short: &Matrix, x: &Matrix) -> Result<Vec<Vec<usize>>> {
        let len = self.compressor.len;
        let mut q = self.query.forward(run, short)?;
        if let Some(rope) = &self.rope {
            rope.apply(&mut q, len, &run.positions, &run.windows);
        }
        let weights = self.weights.forward(run, x)?;
        let CompressedKeys { keys, rows } = self.compressor.forward(run, x)?;
        let pairs = run.windows.par_iter().zip(&rows);
        let chosen = pairs.flat_map(|(window, blocks)| {
            let (q, weights, keys) = (&q, &weights, &keys);
            window.clone().into_par_iter().map(move |row| {
                let seen = (row - window.start + 1) / self.compressor.ratio;
                if seen <= self.keys {
                    return (0..seen).collect();
                }
                let heads = &q.data[row * q.cols..][..q.cols];
                let weights = &weights.data[row * weights.cols..][..weights.cols];
                let key = |block: usize| &keys.data[(blocks.start + block) * len..][..len];
                let score = |block: usize| lightning_score(heads, weights, key(block));
                let scores: Vec<f32> = (0..seen).map(score).collect();
                highest(&scores, self.keys)
            })
        });
        let chosen = chosen.collect();
        for m in [q, weights, keys] {
            run.scratch.give(m);
        }
        Ok(chosen)
    }

    /// For each row the rows of the blocks that it sees, and those behind the last whole one; nothing where every query
    /// sees all before it anyway.
    pub(super) fn keys_of_blocks(
        &self,
        run: &mut Run<'_>,
        short: &Matrix,
        x: &Matrix,
    ) -> Result<Option<Vec<Vec<usize>>>> {
        let ratio = self.compressor.ratio;
        let chosen = self.choose(run, short, x)?;
        let all = |window: &Range<usize>| self.sees_rest && window.len() / ratio <= self.keys;
        if run.windows.iter().all(all) {
            return Ok(None);
        }
        let windows = run.windows.iter().flat_map(|window| {
            window.clone().map(move |row| {
                let rest = window.start + (row - window.start + 1) / ratio * ratio;
                (
                    window.start,
                    if self.sees_rest { rest..row + 1 } else { rest..rest },
                )
            })
        });
        let rows = windows.zip(chosen).map(|((start, rest), blocks)| {
            let first = blocks.into_iter().map(|block| start + block * ratio);
            first.flat_map(|first| first..first + ratio).chain(rest).collect()
        });
        Ok(Some(rows.collect()))
    }
}

/// Attention whose heads share one key, which is the value too. What heads mix is rotated back by the query's position.
#[derive(Clone, Debug)]
pub(crate) struct CompressedAttention {
    pub(crate) query: LatentQuery,
    /// Of each head, without weights.
    pub(crate) query_norm: Norm,
    pub(crate) key: Linear,
    pub(crate) key_norm: Norm,
    pub(crate) rope: Arc<Rope>,
    /// Further keys; `None`: the latest alone are seen.
    pub(crate) compressor: Option<Compressor>,
    /// `None`: all further keys are seen.
    pub(crate) chooser: Option<CompressedChooser>,
    /// By way of a short vector for each group of heads.
    pub(crate) down: GroupedLinear,
    pub(crate) output: Linear,
    pub(crate) shape: AttentionShape,
}

impl CompressedAttention {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let len = self.shape.key_len;
        let (mut q, short) = self.query.forward(run, x)?;
        self.query_norm.apply(&mut q);
        self.rope.apply(&mut q, len, &run.positions, &run.windows);
        let k = self.keys(run, x)?;
        let mut mixed = run.scratch.take(x.rows, q.cols);
        match &self.compressor {
            None => match run.chosen.take() {
                None => attend(&q, &k, &k, &mut mixed, &run.windows, &self.shape, run.products),
                // A draft's: keys of its target's states, then its own.
                Some(seen) => {
                    let (lent, _) = std::mem::take(&mut run.kept[0]);
                    let all = appended(run, &lent, k.clone());
                    attend_chosen(&q, &all, &all, &mut mixed, &seen, &self.shape);
                    run.scratch.give(all);
                }
            },
            Some(compressor) => {
                let further = compressor.forward(run, x)?;
                let blocks = match &self.chooser {
                    Some(chooser) => Some(chooser.choose(run, short.as_ref().unwrap_or(x), x)?),
                    None => None,
                };
                let seen = self.seen(run, compressor.ratio, &further, blocks.as_deref());
                let all = appended(run, &k, further.keys);
                attend_chosen(&q, &all, &all, &mut mixed, &seen, &self.shape);
                run.scratch.give(all);
            }
        }
        run.scratch.give(q);
        run.scratch.give(k);
        if let Some(short) = short {
            run.scratch.give(short);
        }
        self.rope
            .apply_transposed(&mut mixed, len, &run.positions, &run.windows);
        let down = self.down.forward(run, &mixed)?;
        run.scratch.give(mixed);
        let out = self.output.forward(run, &down)?;
        run.scratch.give(down);
        Ok(out)
    }

    /// The keys of the rows, as they stand at the run's positions; values, too.
    pub(crate) fn keys(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let mut k = self.key.forward(run, x)?;
        self.key_norm.apply(&mut k);
        self.rope
            .apply(&mut k, self.shape.key_len, &run.positions, &run.windows);
        run.rounding.cached(&mut k);
        Ok(k)
    }

    /// For each row the rows of the latest keys and, after all of these, of the further ones that it sees. `blocks` are
    /// those chosen of the further ones, all where nothing chooses.
    fn seen(
        &self,
        run: &Run<'_>,
        ratio: usize,
        further: &CompressedKeys,
        blocks: Option<&[Vec<usize>]>,
    ) -> Vec<Vec<usize>> {
        let latest = self.shape.window.unwrap_or(usize::MAX);
        let mut seen = Vec::with_capacity(run.positions.len());
        for (window, own) in run.windows.iter().zip(&further.rows) {
            let first = run.positions.len() + own.start;
            for row in window.clone() {
                let mut rows: Vec<usize> =
                    (window.start.max((row + 1).saturating_sub(latest))..row + 1).collect();
                match blocks {
                    Some(blocks) => rows.extend(blocks[row].iter().map(|block| first + block)),
                    None => rows.extend(first..first + (row - window.start + 1) / ratio),
                }
                seen.push(rows);
            }
        }
        seen
    }

    pub(crate) fn width(&self) -> usize {
        let heads = self.shape.heads * self.shape.key_len;
        3 * heads + 4 * self.shape.key_len + self.down.linear.matrix.outputs
    }
}

/// The rows of one matrix, then those of another.
fn appended(run: &mut Run<'_>, first: &Matrix, mut second: Matrix) -> Matrix {
    run.rounding.cached(&mut second);
    let mut all = run.scratch.take(first.rows + second.rows, first.cols);
    let (before, after) = all.data.split_at_mut(first.data.len());
    before.copy_from_slice(&first.data);
    after.copy_from_slice(&second.data);
    run.scratch.give(second);
    all
}
