//! Hyper-connections ("Hyper-Connections", 2024; "mHC: Manifold-Constrained Hyper-Connections", 2025): copies of the
//! state, of which each half of a layer sees a mixture, and into each of which it puts a share of what it makes.
//!
//! A row of the state has all copies, one after the other.

use crate::Result;
use crate::ops::{Matrix, Norm, sigmoid, softmax};
use crate::run::Run;

use super::{GatedMixture, Linear};

/// The way of one half from the copies and back.
#[derive(Clone, Debug)]
pub(crate) enum Connection {
    Weighted(WeightedMixture),
    Gated(GatedMixture),
}

/// Shares of the copies in what a half makes, row by row.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// One for each copy.
    pub(super) made: Matrix,
    /// For each copy what it takes of all; where there is none, each keeps itself.
    pub(super) mixed: Option<Matrix>,
}

impl Shares {
    /// The rows that are left.
    pub(crate) fn keep_rows(&mut self, kept: &[usize]) {
        self.made.keep_rows(kept);
        if let Some(mixed) = &mut self.mixed {
            mixed.keep_rows(kept);
        }
    }

    /// Mixes the copies `x` with one another, and adds to each its share of what the half has `made`.
    pub(crate) fn put(self, run: &mut Run<'_>, x: &mut Matrix, made: &Matrix) {
        let (copies, cols) = (self.made.cols, made.cols);
        if let Some(mixed) = &self.mixed {
            let mut before = run.scratch.take(1, x.cols);
            let rows = x.data.chunks_exact_mut(x.cols);
            for (row, weights) in rows.zip(mixed.data.chunks_exact(mixed.cols)) {
                before.data.copy_from_slice(row);
                for (to, weights) in row.chunks_exact_mut(cols).zip(weights.chunks_exact(copies)) {
                    to.fill(0.0);
                    for (from, weight) in before.data.chunks_exact(cols).zip(weights) {
                        to.iter_mut().zip(from).for_each(|(y, x)| *y += weight * x);
                    }
                }
            }
            run.scratch.give(before);
        }
        let rows = x.data.chunks_exact_mut(x.cols);
        for ((row, shares), made) in rows
            .zip(self.made.data.chunks_exact(copies))
            .zip(made.data.chunks_exact(cols))
        {
            for (copy, share) in row.chunks_exact_mut(cols).zip(shares) {
                copy.iter_mut().zip(made).for_each(|(y, x)| *y += share * x);
            }
        }
        run.scratch.give(self.made);
        if let Some(mixed) = self.mixed {
            run.scratch.give(mixed);
        }
    }
}

impl Connection {
    /// The half's view of the copies `x`, and the shares of its output.
    pub(crate) fn see(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Shares)> {
        match self {
            Self::Weighted(mixture) => mixture.see(run, x),
            Self::Gated(mixture) => mixture.see(run, x),
        }
    }

    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Weighted(mixture) => mixture.weights.matrix.inputs + mixture.weights.matrix.outputs,
            Self::Gated(mixture) => mixture.width(),
        }
    }
}

/// The embeddings as the first state of all copies.
pub(crate) fn repeated(run: &mut Run<'_>, x: Matrix, copies: usize) -> Matrix {
    let mut all = run.scratch.take(x.rows, x.cols * copies);
    let rows = all.data.chunks_exact_mut(all.cols);
    for (row, x) in rows.zip(x.data.chunks_exact(x.cols)) {
        row.chunks_exact_mut(x.len())
            .for_each(|copy| copy.copy_from_slice(x));
    }
    run.scratch.give(x);
    all
}

/// The mean of the copies.
pub(crate) fn mean(run: &mut Run<'_>, x: &Matrix, copies: usize) -> Matrix {
    let mut out = run.scratch.take(x.rows, x.cols / copies);
    let rows = x.data.chunks_exact(x.cols);
    for (to, row) in out.data.chunks_exact_mut(out.cols).zip(rows) {
        to.fill(0.0);
        for copy in row.chunks_exact(to.len()) {
            to.iter_mut().zip(copy).for_each(|(y, x)| *y += x);
        }
    }
    out.scale(1.0 / copies as f32);
    out
}

/// Weights of the copies, made of all of them at once: of each in what the half sees, of what it makes in each, and of
/// each in each.
#[derive(Clone, Debug)]
pub(crate) struct WeightedMixture {
    pub(crate) copies: usize,
    /// Of all copies of a row together, without weights.
    pub(crate) norm: Norm,
    /// To the three kinds of weights, in their order.
    pub(crate) weights: Linear,
    /// Factors on each kind.
    pub(crate) scale: Vec<f32>,
    /// Added to each.
    pub(crate) base: Vec<f32>,
    /// Added to weights behind their functions.
    pub(crate) eps: f32,
    pub(crate) back: Back,
}

/// Weights of what a half makes, beside those of what it sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Back {
    /// There is no way back: at the end.
    None,
    /// Up to this and the epsilon; the copies are not mixed (Hunyuan V4).
    Apart(f32),
    /// Up to two; the copies are mixed by a matrix that as many of Sinkhorn's steps bring near to one whose rows and
    /// columns each add up to one.
    Mixed(usize),
}

/// Factor on the weights of what a half makes where the copies are mixed.
const SHARE: f32 = 2.0;

impl WeightedMixture {
    /// Weights that the matrix makes.
    pub(crate) fn outputs(copies: usize, back: Back) -> Option<usize> {
        match back {
            Back::None => Some(copies),
            Back::Apart(_) => copies.checked_mul(2),
            Back::Mixed(_) => copies.checked_add(2)?.checked_mul(copies),
        }
    }

    fn see(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Shares)> {
        let copies = self.copies;
        let mut normed = run.scratch.take(x.rows, x.cols);
        normed.copy_from(x);
        self.norm.apply(&mut normed);
        let weights = self.weights.forward(run, &normed)?;
        run.scratch.give(normed);
        // The weights of one kind, before their function.
        let part = |run: &mut Run<'_>, kind: usize, len: usize, f: &dyn Fn(f32) -> f32| {
            let mut out = run.scratch.take(x.rows, len);
            let first = kind * copies;
            let (scale, base) = (self.scale[kind], &self.base[first..first + len]);
            let rows = weights.data.chunks_exact(weights.cols);
            for (to, from) in out.data.chunks_exact_mut(len).zip(rows) {
                for ((y, x), base) in to.iter_mut().zip(&from[first..]).zip(base) {
                    *y = f(x * scale + base);
                }
            }
            out
        };
        let seen = part(run, 0, copies, &|x| sigmoid(x) + self.eps);
        let mut out = run.scratch.take(x.rows, x.cols / copies);
        let rows = x.data.chunks_exact(x.cols).zip(seen.data.chunks_exact(copies));
        for (to, (row, weights)) in out.data.chunks_exact_mut(out.cols).zip(rows) {
            to.fill(0.0);
            for (copy, weight) in row.chunks_exact(to.len()).zip(weights) {
                to.iter_mut().zip(copy).for_each(|(y, x)| *y += weight * x);
            }
        }
        run.scratch.give(seen);
        let shares = match self.back {
            Back::None => Shares::default(),
            Back::Apart(magnitude) => Shares {
                made: part(run, 1, copies, &|x| magnitude * sigmoid(x) + self.eps),
                mixed: None,
            },
            Back::Mixed(steps) => {
                let made = part(run, 1, copies, &|x| SHARE * sigmoid(x));
                let mut mixed = part(run, 2, copies * copies, &|x| x);
                for matrix in mixed.data.chunks_exact_mut(copies * copies) {
                    self.balance(matrix, steps);
                }
                Shares {
                    made,
                    mixed: Some(transposed(mixed, copies)),
                }
            }
        };
        run.scratch.give(weights);
        Ok((out, shares))
    }

    /// Sinkhorn's steps on a matrix whose rows say where each copy goes: a softmax of each row, then columns and rows
    /// divided by their sums in turn, columns last.
    fn balance(&self, matrix: &mut [f32], steps: usize) {
        let copies = self.copies;
        for row in matrix.chunks_exact_mut(copies) {
            softmax(row);
            row.iter_mut().for_each(|x| *x += self.eps);
        }
        for step in 0..steps.max(1) {
            if step > 0 {
                for row in matrix.chunks_exact_mut(copies) {
                    let sum = row.iter().sum::<f32>() + self.eps;
                    row.iter_mut().for_each(|x| *x /= sum);
                }
            }
            for column in 0..copies {
                let sum = (0..copies).map(|row| matrix[row * copies + column]).sum::<f32>() + self.eps;
                (0..copies).for_each(|row| matrix[row * copies + column] /= sum);
            }
        }
    }
}

/// Each row of `copies` times `copies` numbers as the transposed matrix.
fn transposed(mut x: Matrix, copies: usize) -> Matrix {
    for matrix in x.data.chunks_exact_mut(copies * copies) {
        for row in 0..copies {
            for column in row + 1..copies {
                matrix.swap(row * copies + column, column * copies + row);
            }
        }
    }
    x
}
