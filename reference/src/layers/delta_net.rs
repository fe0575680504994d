//! Gated delta nets, as Qwen3-Next has them.

use crate::Result;
use crate::model::Run;
use crate::ops::{Activation, Matrix, Norm, activate, convolve, delta_rule, exp, gate, sigmoid, softplus};

use super::latent::copy_head;
use super::{Convolution, Linear};

/// Linear attention whose state forgets and corrects itself.
#[derive(Clone, Debug)]
pub(crate) struct DeltaNet {
    /// Makes all queries, all keys and all values.
    pub(crate) input: Linear,
    pub(crate) gates: Linear,
    /// For each key head, the strengths of its values' corrections, then what their decays are made from.
    pub(crate) strengths: Linear,
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

/// What is added under the root when queries and keys are brought to length one.
const EPSILON: f32 = 1e-6;

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
        let strengths = self.strengths.forward(run, x)?;
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
        to_unit_length(&mut q, key_len, 1.0 / (key_len as f32).sqrt());
        to_unit_length(&mut k, key_len, 1.0);

        let share = value_heads / key_heads;
        let mut beta = run.scratch.take(x.rows, value_heads);
        let mut decay = run.scratch.take(x.rows, value_heads);
        for (row, made) in strengths.data.chunks_exact(strengths.cols).enumerate() {
            for head in 0..value_heads {
                let base = head / share * 2 * share + head % share;
                let at = row * value_heads + head;
                beta.data[at] = sigmoid(made[base]);
                let step = softplus(made[base + share] + self.step_bias[head]);
                decay.data[at] = exp(self.a[head] * step);
            }
        }
        let mut y = run.scratch.take(x.rows, values);
        delta_rule(
            &q,
            &k,
            &v,
            &decay,
            &beta,
            (key_len, value_len),
            &mut y,
            &run.windows,
        );
        self.norm.apply(&mut y);
        gate(Activation::Silu, &z.data, &mut y.data);
        let out = self.output.forward(run, &y)?;
        for m in [all, z, strengths, mixed, q, k, v, beta, decay, y] {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        3 * self.input.matrix.outputs + 3 * self.value_heads * self.value_len
    }
}

fn to_unit_length(x: &mut Matrix, len: usize, scale: f32) {
    for head in x.data.chunks_exact_mut(len) {
        let sum: f32 = head.iter().map(|x| x * x).sum();
        let factor = scale / (sum + EPSILON).sqrt();
        head.iter_mut().for_each(|x| *x *= factor);
    }
}
