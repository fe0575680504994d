//! The lightning indexer of sparse attention ("DeepSeek-V3.2", 2025): cheap scores that choose the keys a query sees.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::Result;
use crate::model::Run;
use crate::ops::{Matrix, Norm, Rope};

use super::Linear;

/// Choice of the keys that a layer's queries see.
#[derive(Clone, Debug)]
pub(crate) enum Chooser {
    /// All before them.
    None,
    Own(Box<Indexer>),
    /// Those that the nearest layer before with an indexer of its own chose.
    OfTheLayerBefore,
}

/// For each query the `keys` keys with the highest scores: the sum over heads of `weight * max(query . key, 0)`.
///
/// Where no head of a key is above zero, its score is exactly zero, so that keys with equal scores are common, and the
/// published definition does not say which of them is seen: here the earlier one. The scale of the scores, and the
/// rotation of queries and keys by a Hadamard matrix, change no order and are left out.
#[derive(Clone, Debug)]
pub(crate) struct Indexer {
    /// From the short vectors that the layer's queries are made from.
    pub(crate) query: Linear,
    /// One key for all heads.
    pub(crate) key: Linear,
    pub(crate) key_norm: Norm,
    pub(crate) weights: Linear,
    /// Of the first elements of a head.
    pub(crate) rope: Arc<Rope>,
    pub(crate) len: usize,
    pub(crate) keys: usize,
}

impl Indexer {
    /// Leaves the choice in `run`: nothing where every query sees all keys before it anyway.
    pub(crate) fn choose(&self, run: &mut Run<'_>, short: &Matrix, x: &Matrix) -> Result<()> {
        let mut q = self.query.forward(run, short)?;
        let mut k = self.key.forward(run, x)?;
        let weights = self.weights.forward(run, x)?;
        run.chosen = None;
        if run.windows.iter().any(|w| w.len() > self.keys) {
            self.key_norm.apply(&mut k);
            self.rope.apply(&mut q, self.len, &run.positions, &run.windows);
            self.rope.apply(&mut k, self.len, &run.positions, &run.windows);
            let windows = &run.windows;
            let chosen = windows.par_iter().flat_map(|window| {
                let one = |row: usize| self.of_query(&q, &k, &weights, window.start..row + 1);
                window.clone().into_par_iter().map(one)
            });
            run.chosen = Some(chosen.collect());
        }
        for m in [q, k, weights] {
            run.scratch.give(m);
        }
        Ok(())
    }

    /// The keys that the last of the rows `seen` sees, in their order.
    fn of_query(&self, q: &Matrix, k: &Matrix, weights: &Matrix, seen: Range<usize>) -> Vec<usize> {
        if seen.len() <= self.keys {
            return seen.collect();
        }
        let row = seen.end - 1;
        let (heads, weights) = (
            &q.data[row * q.cols..][..q.cols],
            &weights.data[row * weights.cols..],
        );
        let score = |key: usize| -> f32 {
            let key = &k.data[key * k.cols..][..k.cols];
            let of_head = |head: &[f32]| head.iter().zip(key).map(|(a, b)| a * b).sum::<f32>().max(0.0);
            let pairs = heads.chunks_exact(self.len).zip(weights);
            pairs.map(|(head, weight)| of_head(head) * weight).sum()
        };
        highest(seen.map(|key| (score(key), key)).collect(), self.keys)
    }
}

/// The `count` keys with the highest scores, in their order; of equal scores those of the earlier keys.
fn highest(mut scored: Vec<(f32, usize)>, count: usize) -> Vec<usize> {
    // A weight below zero makes a zero negative, which is no other score. NaN comes last.
    let rank = |score: f32| {
        if score.is_nan() {
            f32::NEG_INFINITY
        } else {
            score + 0.0
        }
    };
    scored.sort_by(|a, b| rank(b.0).total_cmp(&rank(a.0)).then(a.1.cmp(&b.1)));
    scored.truncate(count);
    let mut chosen: Vec<usize> = scored.into_iter().map(|(_, key)| key).collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::highest;

    #[test]
    fn of_equal_scores_the_earlier_keys_are_seen() {
        let scores = [-1.0, 0.0, -0.0, 0.0, 2.0, -0.0];
        let scored = || scores.into_iter().zip(0..).collect();
        assert_eq!(highest(scored(), 1), [4]);
        assert_eq!(highest(scored(), 3), [1, 2, 4]);
        assert_eq!(highest(scored(), 5), [1, 2, 3, 4, 5]);
    }
}
