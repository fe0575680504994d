//! Convolutions over positions in which every output sees all inputs.

use std::ops::Range;

use rayon::prelude::*;

use gguf::TensorType;

use crate::Result;
use crate::ops::{Matrix, Parallel, View, ViewMut};
use crate::run::Run;
use crate::weights::BlockMatrix;

/// `y[t] = bias + Σ weight[o][i][k] x[t + k - width / 2][i]`, with zeros around each window. The tensor has the positions
/// (an odd number) innermost, then inputs, then outputs.
#[derive(Clone, Debug)]
pub(crate) struct WideConvolution {
    /// Rows of `width` numbers, one for each input of each output.
    pub(crate) matrix: BlockMatrix,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// One number for each output.
    pub(crate) bias: Vec<f32>,
}

impl WideConvolution {
    /// The outputs at every position. llama.cpp rounds what is multiplied to half precision on both sides.
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let (columns, outputs) = (self.columns(), self.outputs);
        let half = run.rounding.operand(TensorType::F16);
        let mut seen = run.scratch.take(x.rows, columns);
        neighbours(x, self.matrix.inputs, &run.windows, &mut seen);
        half.round(&mut seen);
        let mut kernel = run.scratch.take(outputs, columns);
        self.matrix.decode(run.weights(), 0, &mut kernel.data)?;
        half.round(&mut kernel);
        let mut out = run.scratch.take(x.rows, outputs);
        if x.rows > 0 {
            run.products.multiply(
                ViewMut::rows(&mut out.data, x.rows, outputs),
                seen.view(),
                View::rows(&kernel.data, outputs, columns).transposed(),
                1.0,
                Parallel::Yes,
            );
        }
        out.add_to_rows(&self.bias);
        run.scratch.give(seen);
        run.scratch.give(kernel);
        Ok(out)
    }

    /// Numbers that one output sees.
    fn columns(&self) -> usize {
        self.inputs * self.matrix.inputs
    }

    /// Intermediate results, in numbers for each position.
    pub(crate) fn width(&self) -> usize {
        self.columns().saturating_add(self.outputs)
    }
}

/// For each row the numbers of the rows around it, `width` of one column after the other.
fn neighbours(x: &Matrix, width: usize, windows: &[Range<usize>], out: &mut Matrix) {
    let (cols, before) = (x.cols, width / 2);
    for window in windows {
        let rows = &mut out.data[window.start * out.cols..window.end * out.cols];
        rows.par_chunks_exact_mut(out.cols)
            .zip(window.clone())
            .for_each(|(seen, row)| {
                for k in 0..width {
                    let at = (row + k).checked_sub(before).filter(|at| window.contains(at));
                    let to = seen.iter_mut().skip(k).step_by(width);
                    match at {
                        Some(at) => to.zip(&x.data[at * cols..][..cols]).for_each(|(y, x)| *y = *x),
                        None => to.for_each(|y| *y = 0.0),
                    }
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_where_they_end() {
        let x = Matrix {
            rows: 3,
            cols: 2,
            data: vec![1.0, 10.0, 2.0, 20.0, 3.0, 30.0],
        };
        let mut out = Matrix {
            rows: 3,
            cols: 6,
            data: vec![9.0; 18],
        };
        neighbours(&x, 3, &[0..2, 2..3], &mut out);
        let rows: Vec<&[f32]> = out.data.chunks_exact(6).collect();
        assert_eq!(rows[0], [0.0, 1.0, 2.0, 0.0, 10.0, 20.0]);
        assert_eq!(rows[1], [1.0, 2.0, 0.0, 10.0, 20.0, 0.0]);
        assert_eq!(rows[2], [0.0, 3.0, 0.0, 0.0, 30.0, 0.0]);
    }
}
