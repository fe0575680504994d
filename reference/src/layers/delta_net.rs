//! Gated delta nets, as Qwen3-Next and Qwen3.5 have them.

use crate::Result;
use crate::ops::{Activation, DeltaRule, Matrix, Norm, activate, convolve, exp, gate, sigmoid, softplus};
use crate::run::Run;

use super::latent::copy_head;
use super::{Convolution, Linear};

/// Sources of the strengths of the values' corrections and of the decays, and which key head a value head
/// goes with.
#[derive(Clone, Debug)]
pub(crate) enum Strengths {
    /// In one matrix, for each key head the strengths of its values, then their decays; the values of a key head
    /// follow one another.
    ByKeyHead(Linear),
    /// In two; value heads go with the key heads in turn.
    InTurn { beta: Linear, alpha: Linear },
}

/// The function of the gates of what a net puts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetGate {
    Silu,
    Sigmoid,
}

/// Linear attention whose state forgets and corrects itself.
#[derive(Clone, Debug)]
pub(crate) struct DeltaNet {
    /// Makes all queries, all keys and all values.
    pub(crate) input: Linear,
    pub(crate) gates: Linear,
    pub(crate) gate: NetGate,
    pub(crate) strengths: Strengths,
    pub(crate) convolution: Convolution,
    pub(crate) a: Vec<f32>,
    pub(crate) step_bias: Vec<f32>,
    /// Of each value head's result.
    pub(crate) norm: Norm,
    pub(crate) output: Linear,
    pub(crate) key_heads: usize,
    pub(crate) value_heads: usize,
    pub(crate) key_len: usize,
    pub(crate) value_len: usize,
}

impl DeltaNet {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let &Self {
            key_heads,
            value_heads,
            key_len,
            value_len,
            ..
        } = self;
        let (keys, values) = (key_heads * key_len, value_heads * value_len);
        let all = self.input.forward(run, x)?;
        let z = self.gates.forward(run, x)?;
        let mut mixed = run.scratch.take(x.rows, all.cols);
        convolve(
            &all,
            0,
            &self.convolution.weight,
            &self.convolution.bias,
            &mut mixed,
            &run.windows,
        );
        activate(Activation::Silu, &mut mixed.data);
        let part = |run: &mut Run<'_>, first: usize, len: usize| {
            let mut out = run.scratch.take(x.rows, len);
            copy_head(&mixed, first, &mut out, 0, len);
            out
        };
        let mut q = part(run, 0, keys);
        let mut k = part(run, keys, keys);
        let v = part(run, 2 * keys, values);
        to_unit_length(&mut q, key_len, 1.0 / (key_len as f32).sqrt(), self.norm.eps);
        to_unit_length(&mut k, key_len, 1.0, self.norm.eps);

        let (mut beta, mut decay) = self.strengths.forward(run, x, key_heads)?;
        beta.data.iter_mut().for_each(|x| *x = sigmoid(*x));
        for row in decay.data.chunks_exact_mut(value_heads) {
            for ((x, bias), a) in row.iter_mut().zip(&self.step_bias).zip(&self.a) {
                *x = exp(a * softplus(*x + bias));
            }
        }
        let mut y = run.scratch.take(x.rows, values);
        let rule = DeltaRule {
            key_len,
            value_len,
            in_turn: matches!(self.strengths, Strengths::InTurn { .. }),
        };
        rule.apply(&q, &k, &v, &decay, &beta, &mut y, &run.windows);
        self.norm.apply(&mut y);
        match self.gate {
            NetGate::Silu => gate(Activation::Silu, &z.data, &mut y.data),
            NetGate::Sigmoid => {
                let pairs = y.data.iter_mut().zip(&z.data);
                pairs.for_each(|(y, z)| *y *= sigmoid(*z));
            }
        }
        let out = self.output.forward(run, &y)?;
        for m in [all, z, mixed, q, k, v, beta, decay, y] {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        3 * self.input.matrix.outputs + 3 * self.value_heads * self.value_len
    }
}

impl Strengths {
    /// Before their functions: strengths, and what decays are made from, one number for each value head.
    fn forward(&self, run: &mut Run<'_>, x: &Matrix, key_heads: usize) -> Result<(Matrix, Matrix)> {
        let linear = match self {
            Self::InTurn { beta, alpha } => return Ok((beta.forward(run, x)?, alpha.forward(run, x)?)),
            Self::ByKeyHead(linear) => linear,
        };
        let both = linear.forward(run, x)?;
        let heads = both.cols / 2;
        let share = heads / key_heads;
        let mut beta = run.scratch.take(x.rows, heads);
        let mut alpha = run.scratch.take(x.rows, heads);
        for key_head in 0..key_heads {
            let (from, to) = (2 * key_head * share, key_head * share);
            copy_head(&both, from, &mut beta, to, share);
            copy_head(&both, from + share, &mut alpha, to, share);
        }
        run.scratch.give(both);
        Ok((beta, alpha))
    }
}

/// Brings each head of `len` elements to the length `scale`; `eps` is added under the root.
pub(super) fn to_unit_length(x: &mut Matrix, len: usize, scale: f32, eps: f32) {
    for head in x.data.chunks_exact_mut(len) {
        let sum: f32 = head.iter().map(|x| x * x).sum();
        let factor = scale / (sum + eps).sqrt();
        head.iter_mut().for_each(|x| *x *= factor);
    }
}
