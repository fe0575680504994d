//! Linear layers backwards.

use std::ops::Range;

use super::Pass;
use crate::Result;
use crate::layers::{ExpertLinear, Linear};
use crate::ops::{Matrix, Parallel, View, ViewMut};
use crate::weights::BlockMatrix;

impl Pass<'_, '_> {
    /// The gradient with respect to a layer's input.
    pub(super) fn linear(&mut self, layer: &Linear, gradient: &Matrix) -> Result<Matrix> {
        let scaled = self.scaled(gradient, layer.scale);
        self.tap
            .linear(&layer.matrix.name, None, &scaled.data, scaled.cols);
        let out = self.transposed(&layer.matrix, 0..layer.matrix.outputs, &scaled)?;
        self.run.scratch.give(scaled);
        Ok(out)
    }

    /// The same for one expert's layer.
    pub(super) fn expert(
        &mut self,
        layer: &ExpertLinear,
        expert: usize,
        gradient: &Matrix,
    ) -> Result<Matrix> {
        let scale = layer.scales.as_ref().map_or(1.0, |scales| scales[expert]);
        let scaled = self.scaled(gradient, scale);
        self.tap
            .linear(&layer.matrix.name, Some(expert), &scaled.data, scaled.cols);
        let outputs = layer.matrix.outputs;
        let out = self.transposed(&layer.matrix, expert * outputs..(expert + 1) * outputs, &scaled)?;
        self.run.scratch.give(scaled);
        Ok(out)
    }

    fn scaled(&mut self, gradient: &Matrix, scale: f32) -> Matrix {
        let mut scaled = self.run.scratch.take(gradient.rows, gradient.cols);
        scaled.copy_from(gradient);
        scaled.scale(scale);
        scaled
    }

    /// `gradient * W` for consecutive rows of a stack as W.
    pub(super) fn transposed(
        &mut self,
        matrix: &BlockMatrix,
        rows: Range<usize>,
        gradient: &Matrix,
    ) -> Result<Matrix> {
        let mut out = self.run.scratch.take(gradient.rows, matrix.inputs);
        out.data.fill(0.0);
        if gradient.rows == 0 {
            return Ok(out);
        }
        let mut part = self.run.scratch.take(gradient.rows, matrix.inputs);
        let mut tile = std::mem::take(&mut self.run.tile);
        let step = matrix.tile_rows();
        for first in rows.clone().step_by(step) {
            let count = step.min(rows.end - first);
            tile.resize(count * matrix.inputs, 0.0);
            matrix.decode(self.run.weights(), first, &mut tile)?;
            let lhs = View::strided(
                &gradient.data[first - rows.start..],
                gradient.rows,
                count,
                gradient.cols,
                1,
            );
            self.run.products.multiply(
                ViewMut::rows(&mut part.data, gradient.rows, matrix.inputs),
                lhs,
                View::rows(&tile, count, matrix.inputs),
                1.0,
                Parallel::Yes,
            );
            out.add(&part);
        }
        self.run.tile = tile;
        self.run.scratch.give(part);
        Ok(out)
    }
}
