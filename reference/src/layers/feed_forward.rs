//! Dense feed-forward layers.

use crate::Result;
use crate::ops::{Activation, Matrix, Norm, activate, gate};
use crate::run::{Part, Run};

use super::{Input, Linear};

/// Operand of the activation function.
#[derive(Clone, Debug)]
pub(crate) enum Gate {
    /// `down(activation(up(x)))`
    None,
    /// `down(activation(gate(x)) * up(x))`
    Separate(Linear),
    /// The same, of gates that lie this many standard deviations above the mean of their row: what they have above that
    /// (Gemma 3n).
    Sparse(Linear, f32),
    /// The same as [`Gate::Separate`] with one matrix: all gates, then all others.
    Fused,
}

/// The two or three matrices of a dense feed-forward layer.
#[derive(Clone, Debug)]
pub(crate) struct FeedForward {
    pub(crate) gate: Gate,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) activation: Activation,
    /// Norm of what goes into the last matrix.
    pub(crate) inner_norm: Option<Norm>,
}

/// Replaces rows of all gates, then all others, by `activation(gate) * other`.
pub(super) fn gate_fused(run: &mut Run<'_>, activation: Activation, inner: &mut Matrix) {
    let half = inner.cols / 2;
    let mut product = run.scratch.take(inner.rows, half);
    for (to, from) in product
        .data
        .chunks_exact_mut(half)
        .zip(inner.data.chunks_exact(2 * half))
    {
        let (gates, ups) = from.split_at(half);
        to.copy_from_slice(ups);
        gate(activation, gates, to);
    }
    run.scratch.give(std::mem::replace(inner, product));
}

/// Takes the mean of its row and as many standard deviations from each number, and leaves nothing below zero.
fn cut_off(gates: &mut Matrix, deviations: f32) {
    for row in gates.data.chunks_exact_mut(gates.cols.max(1)) {
        let count = row.len() as f64;
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let squares = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>();
        let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
        let least = (mean + deviation * f64::from(deviations)) as f32;
        row.iter_mut().for_each(|x| *x = (*x - least).max(0.0));
    }
}

impl FeedForward {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let inner = run.once(Part::Input, &self.down.matrix.name, None, |run| {
            self.inner(run, x)
        })?;
        let out = self.down.forward(run, &inner)?;
        run.scratch.give(inner);
        Ok(out)
    }

    /// Input of the last matrix.
    fn inner(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let mut x = Input::new(x);
        let mut inner = self.up.forward_input(run, &mut x)?;
        match &self.gate {
            Gate::None => activate(self.activation, &mut inner.data),
            Gate::Separate(linear) => {
                let gates = linear.forward_input(run, &mut x)?;
                gate(self.activation, &gates.data, &mut inner.data);
                run.scratch.give(gates);
            }
            Gate::Sparse(linear, deviations) => {
                let mut gates = linear.forward_input(run, &mut x)?;
                cut_off(&mut gates, *deviations);
                gate(self.activation, &gates.data, &mut inner.data);
                run.scratch.give(gates);
            }
            Gate::Fused => gate_fused(run, self.activation, &mut inner),
        }
        if let Some(norm) = &self.inner_norm {
            norm.apply(&mut inner);
        }
        Ok(inner)
    }

    /// Widest intermediate results, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        self.up.matrix.outputs * 2
    }
}
