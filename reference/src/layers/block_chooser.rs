//! The indexer of block-sparse attention (MiniMax-M3, 2026): cheap scores that choose the blocks of keys that the query
//! heads of each key head see.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::Result;
use crate::ops::{Matrix, Norm, Rope};
use crate::run::Run;

use super::indexer::highest;
use super::{Linear, PooledChooser};

/// Choice of the blocks of keys that queries see.
#[derive(Clone, Debug)]
pub(crate) enum BlockChoice {
    OfBestKeys(BlockChooser),
    OfMeans(PooledChooser),
}

impl BlockChoice {
    /// For each row, and each of the choice's heads, the rows whose keys it sees; nothing where every query sees all
    /// before it anyway.
    pub(super) fn choose(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Option<Vec<Vec<usize>>>> {
        match self {
            Self::OfBestKeys(chooser) => chooser.choose(run, x),
            Self::OfMeans(chooser) => chooser.choose(run, x),
        }
    }
}

/// For each query and each of `heads` key heads the `blocks` blocks of `block` positions with the highest scores: those of
/// their best keys. The latest `local` blocks are seen in any case. The scale of the scores changes no order and is left
/// out.
#[derive(Clone, Debug)]
pub(crate) struct BlockChooser {
    pub(crate) query: Linear,
    /// One key for all heads.
    pub(crate) key: Linear,
    pub(crate) query_norm: Norm,
    pub(crate) key_norm: Norm,
    pub(crate) rope: Arc<Rope>,
    pub(crate) len: usize,
    pub(crate) heads: usize,
    pub(crate) block: usize,
    pub(crate) blocks: usize,
    pub(crate) local: usize,
}

impl BlockChooser {
    fn choose(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Option<Vec<Vec<usize>>>> {
        let mut q = self.query.forward(run, x)?;
        let mut k = self.key.forward(run, x)?;
        let all = |window: &Range<usize>| window.len().div_ceil(self.block) <= self.blocks;
        let mut chosen = None;
        if !run.windows.iter().all(all) {
            self.query_norm.apply(&mut q);
            self.key_norm.apply(&mut k);
            self.rope.apply(&mut q, self.len, &run.positions, &run.windows);
            self.rope.apply(&mut k, self.len, &run.positions, &run.windows);
            let heads = self.heads;
            let of_windows = run.windows.par_iter().flat_map(|window| {
                let one = |at: usize| self.of_query(&q, &k, window, window.start + at / heads, at % heads);
                (0..window.len() * heads).into_par_iter().map(one)
            });
            chosen = Some(of_windows.collect());
        }
        run.scratch.give(q);
        run.scratch.give(k);
        Ok(chosen)
    }

    /// The rows that a head of the query of `row` sees.
    fn of_query(&self, q: &Matrix, k: &Matrix, window: &Range<usize>, row: usize, head: usize) -> Vec<usize> {
        let query = &q.data[row * q.cols + head * self.len..][..self.len];
        let dot = |key: usize| -> f32 {
            let key = &k.data[key * k.cols..][..self.len];
            query.iter().zip(key).map(|(a, b)| a * b).sum()
        };
        let last = (row - window.start) / self.block;
        let rows = |block: usize| {
            let first = window.start + block * self.block;
            first..(first + self.block).min(row + 1)
        };
        let score = |block: usize| match block {
            _ if block > last => f32::NEG_INFINITY,
            _ if last - block < self.local => f32::INFINITY,
            _ => rows(block).map(dot).fold(f32::NEG_INFINITY, f32::max),
        };
        let scores: Vec<f32> = (0..window.len().div_ceil(self.block)).map(score).collect();
        highest(&scores, self.blocks)
            .into_iter()
            .filter(|&block| block <= last)
            .flat_map(rows)
            .collect()
    }
}
