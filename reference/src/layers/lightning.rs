//! Lightning attention ("MiniMax-01", 2025): linear attention whose state decays at a fixed rate for each head.

use crate::Result;
use crate::ops::{Activation, Matrix, Norm, activate, decaying_sums, exp, sigmoid};
use crate::run::Run;

use super::Linear;
use super::latent::copy_head;

/// Queries, keys and values without a softmax; a norm of all heads and gates behind it.
#[derive(Clone, Debug)]
pub(crate) struct Lightning {
    /// For each head its query, key and value.
    pub(crate) input: Linear,
    pub(crate) gate: Linear,
    pub(crate) norm: Norm,
    pub(crate) output: Linear,
    /// For each head the negative logarithm of what is left of the state after a token.
    pub(crate) slopes: Vec<f32>,
    pub(crate) head_len: usize,
}

impl Lightning {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let (len, heads) = (self.head_len, self.slopes.len());
        let mut all = self.input.forward(run, x)?;
        activate(Activation::Silu, &mut all.data);
        let mut part = |which: usize| {
            let mut out = run.scratch.take(x.rows, heads * len);
            for head in 0..heads {
                copy_head(&all, (3 * head + which) * len, &mut out, head * len, len);
            }
            out
        };
        let [q, k, v] = [part(0), part(1), part(2)];
        let decays: Vec<f32> = self.slopes.iter().map(|slope| exp(-slope)).collect();
        let mut y = run.scratch.take(x.rows, heads * len);
        decaying_sums([&q, &k, &v], &decays, len, &mut y, &run.windows);
        self.norm.apply(&mut y);
        let gates = self.gate.forward(run, x)?;
        for (y, g) in y.data.iter_mut().zip(&gates.data) {
            *y *= sigmoid(*g);
        }
        let out = self.output.forward(run, &y)?;
        for m in [all, q, k, v, y, gates] {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        8 * self.output.matrix.inputs
    }
}
