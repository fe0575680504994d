//! Dense feed-forward layers.

use crate::Result;
use crate::model::Run;
use crate::ops::{Activation, Matrix, activate, gate};

use super::Linear;

/// Operand of the activation function.
#[derive(Clone, Debug)]
pub(crate) enum Gate {
    /// `down(activation(up(x)))`
    None,
    /// `down(activation(gate(x)) * up(x))`
    Separate(Linear),
    /// The same with one matrix: all gates, then all others.
    Fused,
}

/// The two or three matrices of a dense feed-forward layer.
#[derive(Clone, Debug)]
pub(crate) struct FeedForward {
    pub(crate) gate: Gate,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) activation: Activation,
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

impl FeedForward {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let mut inner = self.up.forward(run, x)?;
        match &self.gate {
            Gate::None => activate(self.activation, &mut inner.data),
            Gate::Separate(linear) => {
                let gates = linear.forward(run, x)?;
                gate(self.activation, &gates.data, &mut inner.data);
                run.scratch.give(gates);
            }
            Gate::Fused => gate_fused(run, self.activation, &mut inner),
        }
        let out = self.down.forward(run, &inner)?;
        run.scratch.give(inner);
        Ok(out)
    }

    /// Widest intermediate results, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        self.up.matrix.outputs * 2
    }
}
