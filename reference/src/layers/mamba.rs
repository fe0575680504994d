//! Selective state spaces: Mamba and Mamba-2.

use crate::Result;
use crate::ops::{Activation, Matrix, Norm, StateSpace, activate, convolve, gate, scan, softplus};
use crate::run::Run;

use super::Linear;
use super::latent::copy_head;

/// A causal convolution of each channel, `width` numbers for each.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    pub(crate) weight: Vec<f32>,
    /// One number for each channel, or none.
    pub(crate) bias: Vec<f32>,
}

/// Mamba: each channel has time steps and decays of its own.
#[derive(Clone, Debug)]
pub(crate) struct Mamba {
    /// Makes the channels, then their gates.
    pub(crate) input: Linear,
    pub(crate) convolution: Convolution,
    /// Makes what time steps are made from, B and C.
    pub(crate) parameters: Linear,
    pub(crate) time_step: Linear,
    pub(crate) step_norm: Option<Norm>,
    pub(crate) b_norm: Option<Norm>,
    pub(crate) c_norm: Option<Norm>,
    pub(crate) a: Vec<f32>,
    pub(crate) d: Vec<f32>,
    pub(crate) output: Linear,
    pub(crate) states: usize,
}

impl Mamba {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let channels = self.output.matrix.inputs;
        let both = self.input.forward(run, x)?;
        let mut inner = run.scratch.take(x.rows, channels);
        convolve(
            &both,
            0,
            &self.convolution.weight,
            &self.convolution.bias,
            &mut inner,
            &run.windows,
        );
        activate(Activation::Silu, &mut inner.data);
        let made = self.parameters.forward(run, &inner)?;
        let rank = self.time_step.matrix.inputs;
        let part = |run: &mut Run<'_>, first: usize, len: usize, norm: &Option<Norm>| {
            let mut out = run.scratch.take(x.rows, len);
            copy_head(&made, first, &mut out, 0, len);
            if let Some(norm) = norm {
                norm.apply(&mut out);
            }
            out
        };
        let short = part(run, 0, rank, &self.step_norm);
        let b = part(run, rank, self.states, &self.b_norm);
        let c = part(run, rank + self.states, self.states, &self.c_norm);
        let mut dt = self.time_step.forward(run, &short)?;
        dt.data.iter_mut().for_each(|x| *x = softplus(*x));
        let mut y = run.scratch.take(x.rows, channels);
        let space = StateSpace {
            states: self.states,
            head_len: 1,
            group_heads: channels,
            a: &self.a,
            d: &self.d,
        };
        scan(&space, &inner, &dt, &b, &c, &mut y, &run.windows);
        copy_head(&both, channels, &mut inner, 0, channels);
        gate(Activation::Silu, &inner.data, &mut y.data);
        let out = self.output.forward(run, &y)?;
        for m in [both, inner, made, short, b, c, dt, y] {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        6 * self.output.matrix.inputs + 2 * self.parameters.matrix.outputs
    }
}

/// Mamba-2: heads of channels share time steps and decays, groups of heads B and C.
#[derive(Clone, Debug)]
pub(crate) struct Mamba2 {
    /// Makes gates, channels, B, C and time steps.
    pub(crate) input: Linear,
    /// Over channels, B and C.
    pub(crate) convolution: Convolution,
    pub(crate) step_bias: Vec<f32>,
    pub(crate) a: Vec<f32>,
    pub(crate) d: Vec<f32>,
    /// Of each group's channels.
    pub(crate) norm: Option<Norm>,
    pub(crate) output: Linear,
    pub(crate) states: usize,
    pub(crate) heads: usize,
    pub(crate) groups: usize,
}

impl Mamba2 {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let channels = self.output.matrix.inputs;
        let shared = self.groups * self.states;
        let all = self.input.forward(run, x)?;
        let mut mixed = run.scratch.take(x.rows, channels + 2 * shared);
        convolve(
            &all,
            channels,
            &self.convolution.weight,
            &self.convolution.bias,
            &mut mixed,
            &run.windows,
        );
        activate(Activation::Silu, &mut mixed.data);
        let part = |run: &mut Run<'_>, from: &Matrix, first: usize, len: usize| {
            let mut out = run.scratch.take(x.rows, len);
            copy_head(from, first, &mut out, 0, len);
            out
        };
        let inner = part(run, &mixed, 0, channels);
        let b = part(run, &mixed, channels, shared);
        let c = part(run, &mixed, channels + shared, shared);
        let z = part(run, &all, 0, channels);
        let mut dt = part(run, &all, 2 * channels + 2 * shared, self.heads);
        for row in dt.data.chunks_exact_mut(self.heads) {
            for (x, bias) in row.iter_mut().zip(&self.step_bias) {
                *x = softplus(*x + bias);
            }
        }
        let mut y = run.scratch.take(x.rows, channels);
        let space = StateSpace {
            states: self.states,
            head_len: channels / self.heads,
            group_heads: self.heads / self.groups,
            a: &self.a,
            d: &self.d,
        };
        scan(&space, &inner, &dt, &b, &c, &mut y, &run.windows);
        gate(Activation::Silu, &z.data, &mut y.data);
        if let Some(norm) = &self.norm {
            norm.apply(&mut y);
        }
        let out = self.output.forward(run, &y)?;
        for m in [all, mixed, inner, b, c, z, dt, y] {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        2 * self.input.matrix.outputs + 3 * self.output.matrix.inputs
    }
}
