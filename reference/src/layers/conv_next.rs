//! Blocks of ConvNeXt over positions.

use gguf::TensorType;

use crate::Result;
use crate::ops::{Matrix, Norm, convolve_centered};
use crate::run::Run;

use super::{Convolution, FeedForward};

/// `scale * feed_forward(norm(convolution(x)))`, where each channel is convolved by itself, with positions on both sides.
#[derive(Clone, Debug)]
pub(crate) struct ConvNext {
    pub(crate) convolution: Convolution,
    pub(crate) norm: Norm,
    pub(crate) feed_forward: FeedForward,
    /// One number for each column.
    pub(crate) scale: Vec<f32>,
}

impl ConvNext {
    /// The sum that the block adds to its input. llama.cpp rounds both factors of the convolution to half precision.
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let Convolution { weight, bias } = &self.convolution;
        let half = run.rounding.operand(TensorType::F16);
        let mut seen = run.scratch.take(x.rows, x.cols);
        seen.copy_from(x);
        half.round(&mut seen);
        let mut kernel = run.scratch.take(1, weight.len());
        kernel.data.copy_from_slice(weight);
        half.round(&mut kernel);
        let mut y = run.scratch.take(x.rows, x.cols);
        convolve_centered(&seen, &kernel.data, bias, &mut y, &run.windows);
        self.norm.apply(&mut y);
        let mut out = self.feed_forward.forward(run, &y)?;
        out.scale_columns(&self.scale);
        for matrix in [seen, kernel, y] {
            run.scratch.give(matrix);
        }
        Ok(out)
    }

    /// Intermediate results, in numbers for each position.
    pub(crate) fn width(&self) -> usize {
        let through = 2 * self.feed_forward.up.matrix.inputs;
        self.feed_forward.width().saturating_add(through)
    }
}
