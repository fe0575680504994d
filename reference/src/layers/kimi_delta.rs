//! Kimi's delta attention ("Kimi Linear", 2025): a gated delta net whose state decays element by element.

use crate::Result;
use crate::ops::{
    Activation, AttentionShape, DeltaRule, Matrix, Norm, activate, convolve, exp, sigmoid, softplus,
};
use crate::run::Run;

use super::delta_net::to_unit_length;
use super::{Convolution, Linear, Projections};

/// Queries, keys and values each go through a convolution of their own; decays and gates are made by one layer, or by way
/// of short vectors by two.
#[derive(Clone, Debug)]
pub(crate) struct KimiDelta {
    pub(crate) inputs: Projections,
    /// Of queries, keys and values.
    pub(crate) convolutions: [Convolution; 3],
    /// To what decays are made from: one number for each element of each head's key.
    pub(crate) decay: Vec<Linear>,
    pub(crate) decay_bias: Vec<f32>,
    /// One number for each head.
    pub(crate) a: Vec<f32>,
    /// The least logarithm of a decay, which a logistic function then goes towards in place of a softplus ("safe gate").
    pub(crate) bound: Option<f32>,
    /// Added under the root when queries and keys are brought to length one.
    pub(crate) unit_eps: f32,
    pub(crate) strengths: Linear,
    pub(crate) gate: Vec<Linear>,
    /// Of each head's result.
    pub(crate) norm: Norm,
    pub(crate) output: Linear,
    pub(crate) head_len: usize,
}

impl KimiDelta {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let len = self.head_len;
        let heads = self.a.len();
        let shape = AttentionShape::plain(heads, heads, len, len, 1.0);
        let mut made = Vec::with_capacity(3);
        let inputs = self.inputs.apply(run, x, &shape, heads * len)?;
        for (all, convolution) in inputs.into_iter().zip(&self.convolutions) {
            let mut mixed = run.scratch.take(x.rows, all.cols);
            convolve(
                &all,
                0,
                &convolution.weight,
                &convolution.bias,
                &mut mixed,
                &run.windows,
            );
            activate(Activation::Silu, &mut mixed.data);
            run.scratch.give(all);
            made.push(mixed);
        }
        to_unit_length(&mut made[0], len, 1.0 / (len as f32).sqrt(), self.unit_eps);
        to_unit_length(&mut made[1], len, 1.0, self.unit_eps);
        let mut decay = by_way(&self.decay, run, x)?;
        for row in decay.data.chunks_exact_mut(decay.cols) {
            for (head, a) in self.a.iter().enumerate() {
                let elements = row[head * len..][..len].iter_mut();
                for (x, bias) in elements.zip(&self.decay_bias[head * len..]) {
                    *x = exp(match self.bound {
                        None => a * softplus(*x + bias),
                        Some(bound) => bound * sigmoid(a * (*x + bias)),
                    });
                }
            }
        }
        let mut beta = self.strengths.forward(run, x)?;
        beta.data.iter_mut().for_each(|x| *x = sigmoid(*x));
        let mut y = run.scratch.take(x.rows, made[2].cols);
        let rule = DeltaRule {
            key_len: len,
            value_len: len,
            in_turn: false,
        };
        rule.apply(&made[0], &made[1], &made[2], &decay, &beta, &mut y, &run.windows);
        self.norm.apply(&mut y);
        let gates = by_way(&self.gate, run, x)?;
        for (y, g) in y.data.iter_mut().zip(&gates.data) {
            *y *= sigmoid(*g);
        }
        let out = self.output.forward(run, &y)?;
        made.extend([decay, beta, gates, y]);
        for m in made {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        7 * self.output.matrix.inputs + self.decay.iter().map(|d| d.matrix.outputs).sum::<usize>()
    }
}

/// Through one layer after the other.
fn by_way(layers: &[Linear], run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
    let mut made: Option<Matrix> = None;
    for layer in layers {
        let next = layer.forward(run, made.as_ref().unwrap_or(x))?;
        if let Some(before) = made.replace(next) {
            run.scratch.give(before);
        }
    }
    Ok(made.unwrap_or_default())
}
