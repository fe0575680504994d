//! Linear layers backwards.

use std::ops::Range;

use super::Pass;
use crate::Result;
use crate::layers::{ExpertLinear, Linear};
use crate::ops::{Matrix, Parallel, View, ViewMut};
use crate::weights::BlockMatrix;

impl Pass<'_, '_> {
    /// The gradient with respect to a layer's input `x`, which is looked at only where the tap sees weights.
    pub(super) fn linear(&mut self, layer: &Linear, x: &Matrix, gradient: &Matrix) -> Result<Matrix> {
        let scaled = self.scaled(gradient, layer.scale);
        let name = &layer.matrix.name;
        self.tap.linear(name, None, &scaled.data, scaled.cols);
        if self.tap.sees_weights() {
            self.tap
                .weights(name, None, x.view().as_strided(), scaled.view().as_strided());
            if let (Some(bias), Some(base)) = (&layer.bias, name.strip_suffix(".weight")) {
                self.tap
                    .vector(&format!("{base}.bias"), &sums(gradient, bias.len()));
            }
        }
        let out = self.transposed(&layer.matrix, 0..layer.matrix.outputs, &scaled)?;
        self.run.scratch.give(scaled);
        Ok(out)
    }

    /// The same for one expert's layer.
    pub(super) fn expert(
        &mut self,
        layer: &ExpertLinear,
        expert: usize,
        x: &Matrix,
        gradient: &Matrix,
    ) -> Result<Matrix> {
        let scale = layer.scales.as_ref().map_or(1.0, |scales| scales[expert]);
        let scaled = self.scaled(gradient, scale);
        let name = &layer.matrix.name;
        self.tap.linear(name, Some(expert), &scaled.data, scaled.cols);
        if self.tap.sees_weights() {
            self.tap.weights(
                name,
                Some(expert),
                x.view().as_strided(),
                scaled.view().as_strided(),
            );
        }
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

/// Sums over rows of numbers, `period` of which repeat.
pub(super) fn sums(rows: &Matrix, period: usize) -> Vec<f64> {
    let mut sums = vec![0.0; period];
    for row in rows.data.chunks_exact(period.max(1)) {
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums
}
