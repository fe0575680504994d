//! Linear layers on encoded weights.

use std::ops::Range;

use quants::product::{Activations, Form};

use crate::Result;
use crate::ops::{Matrix, Operand};
use crate::run::{Part, Run};
use crate::weights::BlockMatrix;

use super::Adapters;

/// The input of linear layers: what is rounded for one matrix serves all that round it alike.
pub(crate) struct Input<'x> {
    x: &'x Matrix,
    levels: Option<(Form, Activations)>,
}

impl<'x> Input<'x> {
    /// Nothing rounded yet.
    pub(crate) fn new(x: &'x Matrix) -> Self {
        Self { x, levels: None }
    }

    /// Rows of the input.
    pub(crate) fn rows(&self) -> usize {
        self.x.rows
    }

    /// The rows, rounded for products with weights of one form.
    fn levels(&mut self, form: Form) -> &Activations {
        let kept = self.levels.take().filter(|(of, _)| *of == form);
        let (_, levels) = self
            .levels
            .insert(kept.unwrap_or_else(|| (form, Activations::new(form, self.x.cols, &self.x.data))));
        levels
    }
}

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
        self.forward_input(run, &mut Input::new(x))
    }

    /// [`Self::forward`] of an input that other layers have, too.
    pub(crate) fn forward_input(&self, run: &mut Run<'_>, input: &mut Input<'_>) -> Result<Matrix> {
        run.tap(&self.matrix.name, None, input.x)?;
        run.once(Part::Output, &self.matrix.name, None, |run| {
            let mut out = self.range_of_input(run, input, 0..self.matrix.outputs)?;
            for adapters in &self.adapters {
                adapters.add_to(run, input.x, &mut out)?;
            }
            Ok(out)
        })
    }

    /// Tells the tap that `scale` times what the layer puts out will be added to `x`.
    pub(crate) fn added_to(&self, run: &mut Run<'_>, x: &Matrix, scale: f32) {
        run.added_to(x, &self.matrix.name, scale * self.scale);
    }

    /// The given outputs only, unseen by the tap.
    pub(crate) fn forward_range(
        &self,
        run: &mut Run<'_>,
        x: &Matrix,
        outputs: Range<usize>,
    ) -> Result<Matrix> {
        self.range_of_input(run, &mut Input::new(x), outputs)
    }

    /// [`Self::forward_range`] of an input that other layers or ranges have, too.
    pub(crate) fn range_of_input(
        &self,
        run: &mut Run<'_>,
        input: &mut Input<'_>,
        outputs: Range<usize>,
    ) -> Result<Matrix> {
        let mut out = run.scratch.take(input.x.rows, outputs.len());
        let bias = self.bias.as_ref().map(|b| &b[outputs.clone()]);
        multiply(&self.matrix, run, outputs, input, &mut out)?;
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
            multiply(&self.matrix, run, rows, &mut Input::new(x), &mut out)?;
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
    input: &mut Input<'_>,
    out: &mut Matrix,
) -> Result<()> {
    let x = input.x;
    let operand = run.rounding.operand(matrix.ty);
    match operand {
        Operand::F32 => matrix.multiply(run.weights(), run.products, rows, x, out, &mut run.tile),
        Operand::Levels(form) => {
            let levels = input.levels(form);
            matrix.multiply_levels(run.gguf, form, rows, levels, out, &mut run.panels)
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
