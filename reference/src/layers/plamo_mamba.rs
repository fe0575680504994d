//! PLaMo 2's state space: Mamba-2's heads with Mamba's way of making time steps, B and C.

use crate::Result;
use crate::ops::{Activation, Matrix, Norm, StateSpace, activate, convolve, gate, scan, softplus};
use crate::run::Run;

use super::latent::copy_head;
use super::{Convolution, Linear};

/// Heads of channels share a time step and a decay, all of them B and C, which are normalized as what time steps are
/// made from is.
#[derive(Clone, Debug)]
pub(crate) struct PlamoMamba {
    /// Makes for each head its gates, then its channels.
    pub(crate) input: Linear,
    pub(crate) convolution: Convolution,
    /// Makes B, C and what time steps are made from.
    pub(crate) parameters: Linear,
    pub(crate) time_step: Linear,
    pub(crate) step_norm: Norm,
    pub(crate) b_norm: Norm,
    pub(crate) c_norm: Norm,
    /// One number for each head.
    pub(crate) a: Vec<f32>,
    pub(crate) d: Vec<f32>,
    pub(crate) output: Linear,
    pub(crate) states: usize,
}

impl PlamoMamba {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let (channels, heads) = (self.output.matrix.inputs, self.a.len());
        let len = channels / heads;
        let both = self.input.forward(run, x)?;
        let mut z = run.scratch.take(x.rows, channels);
        let mut raw = run.scratch.take(x.rows, channels);
        for head in 0..heads {
            copy_head(&both, 2 * head * len, &mut z, head * len, len);
            copy_head(&both, (2 * head + 1) * len, &mut raw, head * len, len);
        }
        let mut inner = run.scratch.take(x.rows, channels);
        let Convolution { weight, bias } = &self.convolution;
        convolve(&raw, 0, weight, bias, &mut inner, &run.windows);
        activate(Activation::Silu, &mut inner.data);
        let made = self.parameters.forward(run, &inner)?;
        let part = |run: &mut Run<'_>, first: usize, norm: &Norm| {
            let mut out = run.scratch.take(x.rows, norm.group);
            copy_head(&made, first, &mut out, 0, norm.group);
            norm.apply(&mut out);
            out
        };
        let b = part(run, 0, &self.b_norm);
        let c = part(run, self.states, &self.c_norm);
        let short = part(run, 2 * self.states, &self.step_norm);
        let mut dt = self.time_step.forward(run, &short)?;
        dt.data.iter_mut().for_each(|x| *x = softplus(*x));
        let space = StateSpace {
            states: self.states,
            head_len: len,
            group_heads: heads,
            a: &self.a,
            d: &self.d,
        };
        let mut y = run.scratch.take(x.rows, channels);
        scan(&space, &inner, &dt, &b, &c, &mut y, &run.windows);
        gate(Activation::Silu, &z.data, &mut y.data);
        let out = self.output.forward(run, &y)?;
        for m in [both, z, raw, inner, made, b, c, short, dt, y] {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        6 * self.output.matrix.inputs + 2 * self.parameters.matrix.outputs
    }
}
