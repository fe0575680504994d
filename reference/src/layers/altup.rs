//! Copies of the state that go through the layers side by side, of which each layer computes with one: AltUp of Gemma
//! 3n, with its low-rank branch beside attention.
//!
//! A row of the state has all copies, one after the other.

use crate::Result;
use crate::ops::{Matrix, Norm};
use crate::run::Run;

use super::latent::copy_head;
use super::{ExpertLinear, Linear};

/// Before the first layer and behind the last.
#[derive(Clone, Debug)]
pub(crate) struct Copies {
    pub(crate) count: usize,
    /// The one that layers compute with.
    pub(crate) active: usize,
    /// For each copy but the first a matrix from the embeddings.
    pub(crate) from: ExpertLinear,
    /// For each copy but the first a matrix to what is averaged.
    pub(crate) to: ExpertLinear,
}

impl Copies {
    /// The copies of the embeddings, each as long as they are.
    pub(crate) fn spread(&self, run: &mut Run<'_>, x: Matrix) -> Result<Matrix> {
        let mut all = run.scratch.take(x.rows, x.cols * self.count);
        copy_head(&x, 0, &mut all, 0, x.cols);
        for other in 1..self.count {
            let mut made = self.from.forward(run, other - 1, &x)?;
            as_long_as(&mut made, &x);
            copy_head(&made, 0, &mut all, other * x.cols, x.cols);
            run.scratch.give(made);
        }
        run.scratch.give(x);
        Ok(all)
    }

    /// The mean of the copies, each made as long as the active one.
    pub(crate) fn merge(&self, run: &mut Run<'_>, x: Matrix) -> Result<Matrix> {
        let cols = x.cols / self.count;
        let part = |run: &mut Run<'_>, copy: usize| {
            let mut part = run.scratch.take(x.rows, cols);
            copy_head(&x, copy * cols, &mut part, 0, cols);
            part
        };
        let length = part(run, self.active);
        let mut sum = part(run, 0);
        for other in 1..self.count {
            let copy = part(run, other);
            let mut made = self.to.forward(run, other - 1, &copy)?;
            as_long_as(&mut made, &length);
            sum.add(&made);
            run.scratch.give(copy);
            run.scratch.give(made);
        }
        sum.scale(1.0 / self.count as f32);
        run.scratch.give(length);
        run.scratch.give(x);
        Ok(sum)
    }
}

/// Scales each row to the length of the other's.
fn as_long_as(x: &mut Matrix, other: &Matrix) {
    let length = |row: &[f32]| row.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
    let rows = x.data.chunks_exact_mut(x.cols.max(1));
    for (row, model) in rows.zip(other.data.chunks_exact(other.cols.max(1))) {
        let (wanted, found) = (length(model), length(row));
        let scale = if found > 0.0 { (wanted / found) as f32 } else { 0.0 };
        row.iter_mut().for_each(|x| *x *= scale);
    }
}

/// In a layer.
#[derive(Clone, Debug)]
pub(crate) struct AltUp {
    pub(crate) count: usize,
    pub(crate) active: usize,
    pub(crate) router_norm: Norm,
    /// To a number for each copy.
    pub(crate) router: Linear,
    /// From these to the weights of all copies in the prediction of each.
    pub(crate) predict: Linear,
    /// From these to the weight of what the layer has found in each copy.
    pub(crate) correct: Linear,
    /// Of the active copy, where the layer's own vector comes in.
    pub(crate) scale: Vec<f32>,
    /// The branch beside attention: down, up, and the norm of what comes out.
    pub(crate) down: Linear,
    pub(crate) up: Linear,
    pub(crate) norm: Norm,
}

impl AltUp {
    /// A number for each copy, of the active one's rows.
    fn numbers(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let mut input = run.scratch.take(x.rows, x.cols);
        input.copy_from(x);
        self.router_norm.apply(&mut input);
        input.scale(1.0 / x.cols as f32);
        let mut numbers = self.router.forward(run, &input)?;
        numbers.data.iter_mut().for_each(|x| *x = x.tanh());
        run.scratch.give(input);
        Ok(numbers)
    }

    /// The active of several copies.
    pub(crate) fn active_of(&self, run: &mut Run<'_>, x: &Matrix) -> Matrix {
        let cols = x.cols / self.count;
        let mut active = run.scratch.take(x.rows, cols);
        copy_head(x, self.active * cols, &mut active, 0, cols);
        active
    }

    /// Each copy with a mixture of all of them added.
    pub(crate) fn predict(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let active = self.active_of(run, x);
        let numbers = self.numbers(run, &active)?;
        let weights = self.predict.forward(run, &numbers)?;
        let mut out = run.scratch.take(x.rows, x.cols);
        out.copy_from(x);
        let cols = active.cols;
        let rows = out.data.chunks_exact_mut(x.cols).zip(x.data.chunks_exact(x.cols));
        for ((to, from), weights) in rows.zip(weights.data.chunks_exact(weights.cols)) {
            for (to, weights) in to.chunks_exact_mut(cols).zip(weights.chunks_exact(self.count)) {
                for (from, weight) in from.chunks_exact(cols).zip(weights) {
                    to.iter_mut().zip(from).for_each(|(y, x)| *y += weight * x);
                }
            }
        }
        for m in [active, numbers, weights] {
            run.scratch.give(m);
        }
        Ok(out)
    }

    /// Adds to each prediction its share of the difference between what the layer found and the prediction of that.
    pub(crate) fn correct(&self, run: &mut Run<'_>, predicted: &mut Matrix, found: &Matrix) -> Result<()> {
        let numbers = self.numbers(run, found)?;
        let weights = self.correct.forward(run, &numbers)?;
        let mut news = self.active_of(run, predicted);
        for (x, found) in news.data.iter_mut().zip(&found.data) {
            *x = found - *x;
        }
        let rows = predicted.data.chunks_exact_mut(predicted.cols);
        let rows = rows.zip(weights.data.chunks_exact(weights.cols));
        for ((row, weights), news) in rows.zip(news.data.chunks_exact(news.cols)) {
            for (copy, weight) in row.chunks_exact_mut(news.len()).zip(weights) {
                let each = copy.iter_mut().zip(news);
                each.for_each(|(y, x)| *y += x * (weight + 1.0));
            }
        }
        for m in [numbers, weights, news] {
            run.scratch.give(m);
        }
        Ok(())
    }

    /// The active copy, scaled.
    pub(crate) fn scaled_active(&self, run: &mut Run<'_>, x: &Matrix) -> Matrix {
        let mut active = self.active_of(run, x);
        active.scale_columns(&self.scale);
        active
    }

    /// Adds to all copies but the first.
    pub(crate) fn add_to_others(&self, x: &mut Matrix, more: &Matrix) {
        let rows = x.data.chunks_exact_mut(x.cols);
        for (row, more) in rows.zip(more.data.chunks_exact(more.cols)) {
            for copy in row.chunks_exact_mut(more.len()).skip(1) {
                copy.iter_mut().zip(more).for_each(|(y, x)| *y += x);
            }
        }
    }

    /// The branch beside attention, with what it sees added.
    pub(crate) fn beside(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let narrow = self.down.forward(run, x)?;
        let mut out = self.up.forward(run, &narrow)?;
        self.norm.apply(&mut out);
        out.add(x);
        run.scratch.give(narrow);
        Ok(out)
    }
}
