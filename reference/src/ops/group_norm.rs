//! Normalization of groups of columns over all rows of a window.

use std::ops::Range;

use rayon::prelude::*;

use super::Matrix;

/// A norm of groups of neighbouring columns, all of a window's rows together, with learned weights for each column.
#[derive(Clone, Debug)]
pub(crate) struct GroupNorm {
    /// Groups, each of as many columns as the others; the last ones have less, or none, where they do not divide the columns.
    pub(crate) groups: usize,
    pub(crate) eps: f32,
    /// One number for each column.
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl GroupNorm {
    /// A copy of `x`, normalized: every group of every window to a mean of zero and a variance of one.
    pub(crate) fn apply_to_copy(&self, x: &Matrix, windows: &[Range<usize>], out: &mut Matrix) {
        let cols = x.cols;
        let together = cols.div_ceil(self.groups.max(1)).max(1);
        for window in windows {
            let rows = &x.data[window.start * cols..window.end * cols];
            let scales: Vec<(f64, f64)> = (0..cols.div_ceil(together))
                .into_par_iter()
                .map(|group| {
                    let columns = group * together..cols.min((group + 1) * together);
                    let (mean, variance) = moments(rows.chunks_exact(cols).map(|row| &row[columns.clone()]));
                    (mean, 1.0 / (variance + f64::from(self.eps)).sqrt())
                })
                .collect();
            let out = &mut out.data[window.start * cols..window.end * cols];
            out.par_chunks_exact_mut(cols)
                .zip(rows.par_chunks_exact(cols))
                .for_each(|(out, row)| {
                    for (at, (y, x)) in out.iter_mut().zip(row).enumerate() {
                        let (mean, scale) = scales[at / together];
                        let normed = ((f64::from(*x) - mean) * scale) as f32;
                        *y = normed * self.weight[at] + self.bias[at];
                    }
                });
        }
    }
}

/// Mean and variance of all numbers.
fn moments<'x>(rows: impl Iterator<Item = &'x [f32]> + Clone) -> (f64, f64) {
    let numbers = || rows.clone().flatten().map(|&x| f64::from(x));
    let count = numbers().count() as f64;
    let mean = numbers().sum::<f64>() / count;
    let squares = numbers().map(|x| (x - mean).powi(2)).sum::<f64>();
    (mean, squares / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_normalized_over_the_rows_of_a_window() {
        let x = Matrix {
            rows: 3,
            cols: 3,
            data: vec![1.0, 3.0, 7.0, 5.0, 7.0, 9.0, 4.0, 8.0, 2.0],
        };
        let norm = GroupNorm {
            groups: 2,
            eps: 0.0,
            weight: vec![1.0, 1.0, 2.0],
            bias: vec![0.0, 0.0, 0.5],
        };
        let mut out = x.clone();
        norm.apply_to_copy(&x, &[0..2, 2..3], &mut out);
        // Two columns of mean 4 and variance 5; one of mean 8 and variance 1; of one row, the one column is its mean.
        let root = 5f32.sqrt();
        let wanted = [
            -3.0 / root,
            -1.0 / root,
            -1.5,
            1.0 / root,
            3.0 / root,
            2.5,
            -1.0,
            1.0,
        ];
        for (got, want) in out.data.iter().zip(wanted) {
            assert!((got - want).abs() < 1e-6, "{:?}", out.data);
        }
    }
}
