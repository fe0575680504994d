//! The lightning indexer of sparse attention ("DeepSeek-V3.2", 2025): cheap scores that choose the keys a query sees.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::Result;
use crate::ops::{Matrix, Norm, Rope};
use crate::run::Run;

use super::{CompressedChooser, Linear};

/// Choice of the keys that a layer's queries see.
#[derive(Clone, Debug)]
pub(crate) enum Chooser {
    /// All before them.
    None,
    Own(Box<Indexer>),
    /// Those of whole blocks.
    OfBlocks(Box<CompressedChooser>),
    /// Those that the nearest layer before with an indexer of its own chose.
    OfTheLayerBefore,
}

/// For each query the `keys` keys with the highest scores: the sum over heads of `weight * max(query . key, 0)`.
///
/// Where no head of a key is above zero, its score is exactly zero, so that keys with equal scores are common, and the
/// published definition does not say which of them is seen: here those that llama.cpp sees, see [`highest`]. The scale
/// of the scores, and the rotation of queries and keys by a Hadamard matrix, change no order and are left out.
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
        let score =
            |key: usize| -> f32 { lightning_score(heads, weights, &k.data[key * k.cols..][..k.cols]) };
        let first = seen.start;
        let scores: Vec<f32> = seen.map(score).collect();
        let mut chosen = highest(&scores, self.keys);
        chosen.iter_mut().for_each(|key| *key += first);
        chosen
    }
}

/// The sum over heads of `weight * max(query . key, 0)`.
pub(super) fn lightning_score(heads: &[f32], weights: &[f32], key: &[f32]) -> f32 {
    let of_head = |head: &[f32]| head.iter().zip(key).map(|(a, b)| a * b).sum::<f32>().max(0.0);
    let pairs = heads.chunks_exact(key.len()).zip(weights);
    pairs.map(|(head, weight)| of_head(head) * weight).sum()
}

/// The `count` keys with the highest scores, in their order.
///
/// Of equal scores those that C++'s `partial_sort` of GCC's library leaves in front, which is what llama.cpp's CPU
/// backend calls: a heap of the first `count` keys whose root is the lowest of them, which a later and higher one
/// replaces. Which of several equal ones is at the root depends on each step of that heap.
pub(super) fn highest(scores: &[f32], count: usize) -> Vec<usize> {
    let mut heap: Vec<usize> = (0..count.min(scores.len())).collect();
    for hole in (0..heap.len() / 2).rev() {
        let key = heap[hole];
        sift(&mut heap, hole, key, scores);
    }
    for key in heap.len()..scores.len() {
        if heap.first().is_some_and(|&lowest| scores[key] > scores[lowest]) {
            sift(&mut heap, 0, key, scores);
        }
    }
    heap.sort_unstable();
    heap
}

/// Puts `key` into the heap at `top`, whose own place is free: the hole goes down to the lowest level, always to the
/// lower child, of equal ones the second, then the key up from there past higher ones.
fn sift(heap: &mut [usize], top: usize, key: usize, scores: &[f32]) {
    let mut hole = top;
    while 2 * hole + 1 < heap.len() {
        let mut child = 2 * hole + 2;
        if child == heap.len() || scores[heap[child]] > scores[heap[child - 1]] {
            child -= 1;
        }
        heap[hole] = heap[child];
        hole = child;
    }
    while hole > top && scores[heap[(hole - 1) / 2]] > scores[key] {
        heap[hole] = heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    heap[hole] = key;
}

#[cfg(test)]
mod tests {
    use super::highest;

    /// Scores, how many keys are wanted, and those that `std::partial_sort` of GCC 12's library put in front.
    #[test]
    fn of_equal_scores_partial_sort_decides() {
        let cases: [(&[f32], usize, &[usize]); 6] = [
            (&[-1.0, 0.0, -0.0, 0.0, 2.0, -0.0], 1, &[4]),
            (
                &[0., 0., 0., -2., -0., 0., -0., 0., -0., 0., 0., 0., -0., -0., 0.],
                4,
                &[0, 1, 2, 4],
            ),
            (
                &[0., -0., 0., 0., 0., 0., 0., 0., 0., 0., 1., 2., -0., 0.],
                5,
                &[1, 3, 4, 10, 11],
            ),
            (
                &[-0., -0., -0., 0., -0., 0., 0., 1., -0., 0., 2.],
                6,
                &[0, 1, 3, 4, 7, 10],
            ),
            (
                &[-1., 1., 0., 0., 0., -1., 0., -0., 0., 0., 2., 0., 0.],
                5,
                &[1, 3, 4, 6, 10],
            ),
            (
                &[0., -2., 1., -1., -0., 0., -0., 1., -0., 0., 1., 0.],
                3,
                &[2, 7, 10],
            ),
        ];
        for (scores, count, expected) in cases {
            assert_eq!(highest(scores, count), expected, "{count} of {scores:?}");
        }
        let scores = [1.0, f32::NAN, 0.0];
        assert_eq!(highest(&scores, 3), [0, 1, 2]);
        assert!(highest(&scores, 0).is_empty() && highest(&[], 2).is_empty());
    }
}
