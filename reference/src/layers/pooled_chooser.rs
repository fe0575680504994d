//! The indexer of block-sparse attention on means of keys (Qwen3.8-Flash-Next): cheap scores of blocks that choose the
//! keys a query sees.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::Result;
use crate::ops::{Matrix, Norm, Rope};
use crate::run::Run;

use super::Linear;
use super::indexer::highest;

/// For each query the `keys` keys with the highest scores, which are those of their blocks, and the latest in any case,
/// of which there are too few for a block. A block's score is the sum over heads of `max(query . mean of its keys, 0)`.
///
/// Where the latest leave room for a part of a block, llama.cpp fills it with whatever its choice of the highest leaves
/// in front; here it is the same keys, see [`highest`].
#[derive(Clone, Debug)]
pub(crate) struct PooledChooser {
    pub(crate) query: Linear,
    /// One key for all heads.
    pub(crate) key: Linear,
    pub(crate) query_norm: Norm,
    /// Of the means, before they are rotated by the position of their first key.
    pub(crate) key_norm: Norm,
    pub(crate) rope: Arc<Rope>,
    pub(crate) len: usize,
    /// Keys of a block.
    pub(crate) block: usize,
    pub(crate) keys: usize,
}

/// Score of the latest keys, above any other.
const LATEST: f32 = 1e9;

impl PooledChooser {
    /// For each row the rows whose keys it sees; nothing where every query sees all before it anyway.
    pub(super) fn choose(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Option<Vec<Vec<usize>>>> {
        let mut q = self.query.forward(run, x)?;
        let k = self.key.forward(run, x)?;
        let mut chosen = None;
        if run.windows.iter().any(|window| window.len() > self.most()) {
            self.query_norm.apply(&mut q);
            self.rope.apply(&mut q, self.len, &run.positions, &run.windows);
            let of_windows = run.windows.iter().map(|window| {
                let means = self.means(&k, window);
                let one = |row: usize| self.of_query(&q, &means, window.start..row + 1);
                window.clone().into_par_iter().map(one).collect::<Vec<_>>()
            });
            chosen = Some(of_windows.flatten().collect());
        }
        run.scratch.give(q);
        run.scratch.give(k);
        Ok(chosen)
    }

    /// Keys that a query sees.
    fn most(&self) -> usize {
        self.keys.saturating_add(self.block - 1)
    }

    /// The means of the whole blocks of a window.
    fn means(&self, k: &Matrix, window: &Range<usize>) -> Matrix {
        let rows = window.len() / self.block;
        let mut means = Matrix {
            rows,
            cols: self.len,
            data: vec![0.0; rows * self.len],
        };
        let members = k.data[window.start * k.cols..].chunks_exact(self.block * self.len);
        for (mean, members) in means.data.chunks_exact_mut(self.len).zip(members) {
            for key in members.chunks_exact(self.len) {
                mean.iter_mut().zip(key).for_each(|(y, x)| *y += x);
            }
        }
        means.scale(1.0 / self.block as f32);
        self.key_norm.apply(&mut means);
        let positions: Vec<usize> = (0..rows).map(|block| block * self.block).collect();
        self.rope.apply(&mut means, self.len, &positions, &[]);
        means
    }

    /// The keys that the last of the rows `seen` sees.
    fn of_query(&self, q: &Matrix, means: &Matrix, seen: Range<usize>) -> Vec<usize> {
        if seen.len() <= self.most() {
            return seen.collect();
        }
        let heads = &q.data[(seen.end - 1) * q.cols..][..q.cols];
        let score = |mean: &[f32]| -> f32 {
            let products = heads.chunks_exact(self.len).map(|head| {
                let product = head.iter().zip(mean).map(|(a, b)| a * b).sum::<f32>();
                product.max(0.0)
            });
            products.sum()
        };
        let whole = seen.len() / self.block;
        let mut scores = Vec::with_capacity(seen.len());
        for mean in means.data.chunks_exact(self.len).take(whole) {
            scores.resize(scores.len() + self.block, score(mean));
        }
        scores.resize(seen.len(), LATEST);
        let chosen = highest(&scores, self.most());
        chosen.into_iter().map(|key| seen.start + key).collect()
    }
}
