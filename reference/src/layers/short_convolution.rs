//! Gated short convolutions (LFM2).

use crate::Result;
use crate::ops::{Matrix, convolve, convolve_centered};
use crate::run::Run;

use super::{Convolution, Linear};

/// `out(c * convolution(b * x))`, where one matrix makes b, c and x.
#[derive(Clone, Debug)]
pub(crate) struct ShortConvolution {
    pub(crate) input: Linear,
    pub(crate) convolution: Convolution,
    pub(crate) output: Linear,
    /// Whether a position sees as many behind it as before it.
    pub(crate) centered: bool,
}

impl ShortConvolution {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let width = self.output.matrix.inputs;
        let all = self.input.forward(run, x)?;
        let mut gated = run.scratch.take(x.rows, width);
        for (to, from) in gated
            .data
            .chunks_exact_mut(width)
            .zip(all.data.chunks_exact(all.cols))
        {
            for ((y, b), x) in to.iter_mut().zip(&from[..width]).zip(&from[2 * width..]) {
                *y = b * x;
            }
        }
        let mut y = run.scratch.take(x.rows, width);
        let Convolution { weight, bias } = &self.convolution;
        match self.centered {
            true => convolve_centered(&gated, weight, bias, &mut y, &run.windows),
            false => convolve(&gated, 0, weight, bias, &mut y, &run.windows),
        }
        for (to, from) in y
            .data
            .chunks_exact_mut(width)
            .zip(all.data.chunks_exact(all.cols))
        {
            for (y, c) in to.iter_mut().zip(&from[width..2 * width]) {
                *y *= c;
            }
        }
        let out = self.output.forward(run, &y)?;
        for m in [all, gated, y] {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        5 * self.output.matrix.inputs
    }
}
