//! Dense feed-forward layers backwards.

use rayon::prelude::*;

use super::{Pass, unknown};
use crate::Result;
use crate::layers::{FeedForward, Gate};
use crate::ops::{Activation, Matrix};

impl FeedForward {
    /// A part that the backward pass does not know.
    pub(super) fn without_backward(&self) -> Option<String> {
        match self.gate {
            Gate::Sparse(..) => Some(CUT_OFF.to_owned()),
            _ if self.inner_norm.is_some() => Some("norms before the last matrix".to_owned()),
            _ => without_slope(self.activation),
        }
    }
}

/// Of Gemma 3n's layers.
const CUT_OFF: &str = "gates that are cut off";

/// An activation function that the backward pass does not know.
pub(super) fn without_slope(activation: Activation) -> Option<String> {
    match activation.with_slope(0.0) {
        Some(_) => None,
        None => Some(format!("the activation {activation:?}")),
    }
}

impl Pass<'_, '_> {
    /// The gradient with respect to the layer's input `x`.
    pub(super) fn feed_forward(
        &mut self,
        layer: &FeedForward,
        x: &Matrix,
        gradient: &Matrix,
    ) -> Result<Matrix> {
        let ups = layer
            .up
            .forward_range(&mut self.run, x, 0..layer.up.matrix.outputs)?;
        let gates = match &layer.gate {
            Gate::Separate(linear) => {
                Some(linear.forward_range(&mut self.run, x, 0..linear.matrix.outputs)?)
            }
            _ => None,
        };
        let inner = match self.tap.sees_weights() {
            true => inner(layer, gates.as_ref(), &ups),
            false => Matrix::default(),
        };
        let at_inner = self.linear(&layer.down, &inner, gradient)?;
        match (&layer.gate, gates) {
            (Gate::None, _) => {
                let at_ups = activated(layer.activation, &ups, &at_inner)?;
                self.linear(&layer.up, x, &at_ups)
            }
            (Gate::Fused, _) => {
                let at_both = gated_fused(layer.activation, &ups, &at_inner)?;
                self.linear(&layer.up, x, &at_both)
            }
            (Gate::Separate(linear), Some(gates)) => {
                let (at_gates, at_ups) = gated(layer.activation, &gates, &ups, &at_inner)?;
                let mut out = self.linear(&layer.up, x, &at_ups)?;
                out.add(&self.linear(linear, x, &at_gates)?);
                Ok(out)
            }
            _ => Err(unknown(CUT_OFF)),
        }
    }
}

/// Input of the last matrix, from what those before it make.
fn inner(layer: &FeedForward, gates: Option<&Matrix>, ups: &Matrix) -> Matrix {
    match (&layer.gate, gates) {
        (Gate::Fused, _) => halves(layer.activation, ups),
        (_, Some(gates)) => {
            let mut inner = ups.clone();
            crate::ops::gate(layer.activation, &gates.data, &mut inner.data);
            inner
        }
        (_, None) => {
            let mut inner = ups.clone();
            crate::ops::activate(layer.activation, &mut inner.data);
            inner
        }
    }
}

/// Output of one matrix for gates and what they gate, the gates applied.
pub(super) fn halves(activation: Activation, both: &Matrix) -> Matrix {
    let half = both.cols / 2;
    let mut out = Matrix {
        rows: both.rows,
        cols: half,
        data: vec![0.0; both.rows * half],
    };
    for (to, from) in out
        .data
        .chunks_exact_mut(half)
        .zip(both.data.chunks_exact(2 * half))
    {
        let (gates, ups) = from.split_at(half);
        to.copy_from_slice(ups);
        crate::ops::gate(activation, gates, to);
    }
    out
}

/// The gradient with respect to the operand of an activation.
pub(super) fn activated(activation: Activation, x: &Matrix, gradient: &Matrix) -> Result<Matrix> {
    known(activation)?;
    let mut out = gradient.clone();
    out.data
        .par_iter_mut()
        .zip(&x.data)
        .with_min_len(4096)
        .for_each(|(g, &x)| {
            if let Some((_, slope)) = activation.with_slope(x) {
                *g *= slope;
            }
        });
    Ok(out)
}

/// The gradients with respect to the operand of the gate, and to what it gates.
pub(super) fn gated(
    activation: Activation,
    gates: &Matrix,
    ups: &Matrix,
    gradient: &Matrix,
) -> Result<(Matrix, Matrix)> {
    known(activation)?;
    let (mut at_gates, mut at_ups) = (gradient.clone(), gradient.clone());
    at_gates
        .data
        .par_iter_mut()
        .zip(&mut at_ups.data)
        .zip(gates.data.par_iter().zip(&ups.data))
        .with_min_len(4096)
        .for_each(|((at_gate, at_up), (&gate, &up))| {
            if let Some((value, slope)) = activation.with_slope(gate) {
                *at_up *= value;
                *at_gate *= up * slope;
            }
        });
    Ok((at_gates, at_ups))
}

/// The same where one matrix makes all gates, then all that they gate.
pub(super) fn gated_fused(activation: Activation, both: &Matrix, gradient: &Matrix) -> Result<Matrix> {
    known(activation)?;
    let half = gradient.cols;
    let mut out = both.clone();
    for (row, gradient) in out
        .data
        .chunks_exact_mut(2 * half)
        .zip(gradient.data.chunks_exact(half))
    {
        let (gates, ups) = row.split_at_mut(half);
        for ((gate, up), g) in gates.iter_mut().zip(ups).zip(gradient) {
            if let Some((value, slope)) = activation.with_slope(*gate) {
                (*gate, *up) = (g * *up * slope, g * value);
            }
        }
    }
    Ok(out)
}

fn known(activation: Activation) -> Result<()> {
    match without_slope(activation) {
        None => Ok(()),
        Some(part) => Err(unknown(&part)),
    }
}
