//! Hyper-connections of short rank (Qwen3.8-Flash-Next): a half sees the mean of the normalized copies, each element
//! through a gate of its own.

use crate::Result;
use crate::ops::{Activation, Matrix, Norm, activate, sigmoid};
use crate::run::Run;

use super::Linear;
use super::hyper_connection::Shares;

/// Gates of the elements of all copies by way of a short vector.
#[derive(Clone, Debug)]
pub(crate) struct GatedMixture {
    pub(crate) copies: usize,
    /// Of each copy; it stands in place of a layer's norms.
    pub(crate) norm: Norm,
    pub(crate) down: Linear,
    pub(crate) up: Linear,
    /// To the shares of what the half makes; `None` at the end.
    pub(crate) inject: Option<Linear>,
}

/// The largest share.
const SHARE: f32 = 2.0;

impl GatedMixture {
    pub(super) fn see(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Shares)> {
        let part = 1.0 / self.copies as f32;
        let mut normed = run.scratch.take(x.rows, x.cols);
        normed.copy_from(x);
        self.norm.apply(&mut normed);
        let mut short = self.down.forward(run, &normed)?;
        short.scale(part);
        activate(Activation::Silu, &mut short.data);
        let gates = self.up.forward(run, &short)?;
        let shares = match &self.inject {
            None => Shares::default(),
            Some(inject) => {
                let mut made = inject.forward(run, &normed)?;
                made.data.iter_mut().for_each(|x| *x = SHARE * sigmoid(*x * part));
                Shares { made, mixed: None }
            }
        };
        let mut out = run.scratch.take(x.rows, x.cols / self.copies);
        let rows = normed
            .data
            .chunks_exact(x.cols)
            .zip(gates.data.chunks_exact(x.cols));
        for (to, (row, gates)) in out.data.chunks_exact_mut(out.cols).zip(rows) {
            to.fill(0.0);
            for (copy, gates) in row.chunks_exact(to.len()).zip(gates.chunks_exact(to.len())) {
                for ((y, x), g) in to.iter_mut().zip(copy).zip(gates) {
                    *y += x * sigmoid(*g);
                }
            }
        }
        out.scale(part);
        for m in [normed, short, gates] {
            run.scratch.give(m);
        }
        Ok((out, shares))
    }

    pub(super) fn width(&self) -> usize {
        2 * self.down.matrix.inputs + self.down.matrix.outputs
    }
}
