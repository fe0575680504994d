//! Dense feed-forward layers with a gate.

use crate::Result;
use crate::model::Run;
use crate::ops::{Activation, Matrix, gate};

use super::Linear;

/// `down(activation(gate(x)) * up(x))`.
#[derive(Clone, Debug)]
pub(crate) struct FeedForward {
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) activation: Activation,
}

impl FeedForward {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let mut inner = self.up.forward(run, x)?;
        let gates = self.gate.forward(run, x)?;
        gate(self.activation, &gates.data, &mut inner.data);
        run.scratch.give(gates);
        let out = self.down.forward(run, &inner)?;
        run.scratch.give(inner);
        Ok(out)
    }

    /// Widest intermediate results, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        self.up.matrix.outputs * 2
    }
}
