//! Embeddings of n-grams (Qwen3.8-Flash-Next): rows of a table that a hash of the latest tokens chooses, which gates let
//! into each copy of the state, with a convolution over what came in before.

use rayon::prelude::*;

use crate::Result;
use crate::ops::{Activation, Matrix, Norm, activate, sigmoid};
use crate::run::Run;

use super::{Embedding, Linear};

/// The numbers of the hash.
#[derive(Clone, Debug)]
pub(crate) struct GramHash {
    /// Tokens of the longest n-gram; the shortest has two.
    pub(crate) size: usize,
    /// Rows for each length.
    pub(crate) heads: usize,
    /// One for each token of an n-gram, the latest first.
    pub(crate) multipliers: Vec<u64>,
    /// For each row of a token where its part of the table begins, and how many rows it has.
    pub(crate) parts: Vec<(u64, u64)>,
    /// The token before which nothing is looked at, and which stands in for what is not there.
    pub(crate) end: u32,
}

impl GramHash {
    /// The rows of the table for the last of these tokens, which are those of a window up to it.
    fn rows(&self, tokens: &[u32]) -> Vec<usize> {
        let mut latest = tokens.iter().rev().copied();
        let mut mixed = self.product(latest.next().unwrap_or(self.end), 0);
        let mut cut = false;
        let mut rows = Vec::with_capacity(self.parts.len());
        for place in 1..self.size {
            let token = latest.next().filter(|_| !cut).unwrap_or(self.end);
            cut |= token == self.end;
            mixed ^= self.product(token, place);
            let first = (place - 1) * self.heads;
            let parts = self.parts.iter().skip(first).take(self.heads);
            rows.extend(parts.map(|(start, count)| (start + mixed % count) as usize));
        }
        rows
    }

    fn product(&self, token: u32, place: usize) -> u64 {
        u64::from(token).wrapping_mul(self.multipliers[place])
    }
}

/// A layer's part.
#[derive(Clone, Debug)]
pub(crate) struct Grams {
    pub(crate) hash: GramHash,
    pub(crate) table: Embedding,
    /// To keys of all copies, and to a value.
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    /// Of each copy.
    pub(crate) key_norm: Norm,
    pub(crate) query_norm: Norm,
    pub(crate) convolved_norm: Norm,
    /// So many numbers for each column of the state, the latest last, over tokens that are `size` apart.
    pub(crate) convolution: Vec<f32>,
}

/// The least magnitude of a gate's score before its root.
const LEAST: f32 = 1e-6;

impl Grams {
    /// Adds the embeddings to the copies `x`.
    pub(crate) fn add_to(&self, run: &mut Run<'_>, x: &mut Matrix) -> Result<()> {
        let embeddings = self.embeddings(run, x.rows)?;
        let mut keys = self.key.forward(run, &embeddings)?;
        let value = self.value.forward(run, &embeddings)?;
        run.scratch.give(embeddings);
        self.key_norm.apply(&mut keys);
        let mut queries = run.scratch.take(x.rows, x.cols);
        queries.copy_from(x);
        self.query_norm.apply(&mut queries);
        let len = value.cols;
        let scale = 1.0 / (len as f32).sqrt();
        let mut gated = run.scratch.take(x.rows, x.cols);
        let copies = x.cols / len;
        for (at, to) in gated.data.chunks_exact_mut(len).enumerate() {
            let products = queries.data[at * len..][..len].iter().zip(&keys.data[at * len..]);
            let score = products.map(|(q, k)| q * k).sum::<f32>() * scale;
            // The sign of zero is zero.
            let sign = if score == 0.0 { 0.0 } else { score.signum() };
            let gate = sigmoid(sign * score.abs().max(LEAST).sqrt());
            let value = &value.data[at / copies * len..][..len];
            to.iter_mut().zip(value).for_each(|(y, v)| *y = v * gate);
        }
        let mut normed = queries;
        normed.copy_from(&gated);
        self.convolved_norm.apply(&mut normed);
        let mut convolved = keys;
        self.convolve(run, &normed, &mut convolved);
        activate(Activation::Silu, &mut convolved.data);
        gated.add(&convolved);
        x.add(&gated);
        for m in [value, gated, normed, convolved] {
            run.scratch.give(m);
        }
        Ok(())
    }

    /// All rows of a token, one after the other.
    fn embeddings(&self, run: &mut Run<'_>, tokens: usize) -> Result<Matrix> {
        let matrix = &self.table.matrix;
        let len = matrix.inputs;
        let mut rows = Vec::with_capacity(tokens * self.hash.parts.len());
        for window in &run.windows {
            for row in window.clone() {
                rows.extend(self.hash.rows(&run.tokens[window.start..=row]));
            }
        }
        let mut out = run.scratch.take(tokens, len * self.hash.parts.len());
        let weights = run.weights();
        out.data
            .par_chunks_exact_mut(len)
            .zip(&rows)
            .with_min_len(16)
            .try_for_each(|(to, &row)| matrix.decode(weights, row, to))?;
        Ok(out)
    }

    fn convolve(&self, run: &Run<'_>, x: &Matrix, out: &mut Matrix) {
        let width = self.convolution.len() / x.cols;
        for window in &run.windows {
            let rows = &mut out.data[window.start * x.cols..window.end * x.cols];
            rows.par_chunks_exact_mut(x.cols)
                .enumerate()
                .for_each(|(at, row)| {
                    for (column, y) in row.iter_mut().enumerate() {
                        let weights = &self.convolution[column * width..][..width];
                        let latest = weights.iter().rev().enumerate();
                        let seen = latest.take_while(|(back, _)| back * self.hash.size <= at);
                        let number = |back: usize| {
                            let row = window.start + at - back * self.hash.size;
                            x.data[row * x.cols + column]
                        };
                        *y = seen.map(|(back, weight)| weight * number(back)).sum();
                    }
                });
        }
    }
}
