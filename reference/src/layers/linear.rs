//! Linear layers on encoded weights.

use std::ops::Range;

use quants::product::Activations;

use crate::Result;
use crate::ops::{Matrix, Operand};
use crate::run::{Part, Run};
use crate::weights::BlockMatrix;

use super::Adapters;

/// `y = scale * W x + bias`.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) matrix: BlockMatrix,
    /// One number for each output.
    pub(crate) bias: Option<Vec<f32>>,
    /// The second-level scale that some formats keep in a tensor of its own; 1 otherwise.
    pub(crate) scale: f32,
    /// Pairs of matrices that are added for rows with an adapter.
    pub(crate) adapters: Vec<Adapters>,
}

impl Linear {
    /// Applies the layer to every row of `x`.
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        run.tap(&self.matrix.name, None, x)?;
        run.once(Part::Output, &self.matrix.name, None, |run| {
            let mut out = self.forward_range(run, x, 0..self.matrix.outputs)?;
            for adapters in &self.adapters {
                adapters.add_to(run, x, &mut out)?;
            }
            Ok(out)
        })
    }

    /// The given outputs only, unseen by the tap.
    pub(crate) fn forward_range(
        &self,
        run: &mut Run<'_>,
        x: &Matrix,
        outputs: Range<usize>,
    ) -> Result<Matrix> {
        let mut out = run.scratch.take(x.rows, outputs.len());
        let bias = self.bias.as_ref().map(|b| &b[outputs.clone()]);
        multiply(&self.matrix, run, outputs, x, &mut out)?;
        finish(&mut out, self.scale, bias);
        Ok(out)
    }
}

/// A [`Linear`] for each expert, in one tensor.
#[derive(Clone, Debug)]
pub(crate) struct ExpertLinear {
    pub(crate) matrix: BlockMatrix,
    /// outputs numbers for each expert.
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) scales: Option<Vec<f32>>,
}

impl ExpertLinear {
    /// Applies one expert's layer to every row of `x`.
    pub(crate) fn forward(&self, run: &mut Run<'_>, expert: usize, x: &Matrix) -> Result<Matrix> {
        run.tap(&self.matrix.name, Some(expert), x)?;
        run.once(Part::Output, &self.matrix.name, Some(expert), |run| {
            let outputs = self.matrix.outputs;
            let mut out = run.scratch.take(x.rows, outputs);
            let rows = expert * outputs..(expert + 1) * outputs;
            multiply(&self.matrix, run, rows, x, &mut out)?;
            let scale = self.scales.as_ref().map_or(1.0, |s| s[expert]);
            let bias = self.bias.as_ref().map(|b| &b[expert * outputs..][..outputs]);
            finish(&mut out, scale, bias);
            Ok(out)
        })
    }
}

/// The product with some rows of a matrix, of operands rounded as the run says.
fn multiply(
    matrix: &BlockMatrix,
    run: &mut Run<'_>,
    rows: Range<usize>,
    x: &Matrix,
    out: &mut Matrix,
) -> Result<()> {
    let operand = run.rounding.operand(matrix.ty);
    match operand {
        Operand::F32 => matrix.multiply(run.weights(), run.products, rows, x, out, &mut run.tile),
        Operand::Levels(form) => {
            let x = Activations::new(form, x.cols, &x.data);
            matrix.multiply_levels(run.gguf, form, rows, &x, out, &mut run.panels)
        }
        Operand::F16 | Operand::BF16 => {
            let mut rounded = run.scratch.take(x.rows, x.cols);
            rounded.copy_from(x);
            operand.round(&mut rounded);
            matrix.multiply(run.weights(), run.products, rows, &rounded, out, &mut run.tile)?;
            run.scratch.give(rounded);
            Ok(())
        }
    }
}

fn finish(out: &mut Matrix, scale: f32, bias: Option<&[f32]>) {
    out.scale(scale);
    if let Some(bias) = bias {
        for row in out.data.chunks_exact_mut(out.cols) {
            for (x, b) in row.iter_mut().zip(bias) {
                *x += b;
            }
        }
    }
}
