//! Shifts of weights that make up for what is off in inputs, and in the state that outputs are added to.

use rayon::prelude::*;
use reference::portable::{Panels, Strided, wide};

use crate::judge::{Judge, products, sum_of_products};
use crate::moments::Moments;

/// Shifts that make up for what is off in inputs x beside those of the unquantized model, y, and in the state that the
/// output is added to.
#[derive(Debug)]
pub(crate) struct Correction {
    columns: usize,
    /// Shift of a row's weights, as a matrix, with which they put out for x what they put out for y.
    drift: Option<Panels>,
    /// Shift of every row with which its output makes up for what the state lacks.
    shift: Option<Vec<f32>>,
}

impl Correction {
    /// Regressions on inputs whose second moments, in units of 1/`scale`, are M Mᵀ; `None` where they are not finite.
    pub(crate) fn new(moments: &Moments, factor: &[f64], scale: f64) -> Option<Self> {
        let n = moments.columns;
        let scale = scale / moments.weights;
        let solved = |sums: &Vec<f32>| -> Vec<f32> {
            let mut rows: Vec<f64> = sums.iter().map(|x| f64::from(*x) * scale).collect();
            solve(factor, &mut rows, n);
            rows.iter().map(|x| *x as f32).collect()
        };
        let drift = moments.cross.as_ref().map(solved);
        let shift = moments.lack.as_ref().map(|lack| solved(&lack.sums));
        let mut all = drift.iter().chain(&shift).flatten();
        all.all(|x| x.is_finite()).then(|| Self {
            columns: n,
            drift: drift.map(|drift| Panels::new(Strided::rows(&drift, n, n))),
            shift,
        })
    }

    /// Takes back the part of the shift that makes up for nothing on inputs it was not learned from: with few tokens,
    /// some of it is chance. What is left is the multiple of it that does most there.
    pub(crate) fn proved_by(mut self, judge: &Judge) -> Self {
        if let (Some(shift), Some(lack)) = (&mut self.shift, &judge.lack) {
            let n = self.columns;
            let mut made = vec![0.0; shift.len()];
            made.par_chunks_mut(TOGETHER * n)
                .zip(shift.par_chunks(TOGETHER * n))
                .for_each(|(made, rows)| made.copy_from_slice(&products(rows, &judge.hessian, n)));
            let share = sum_of_products(shift, &lack.sums) / sum_of_products(shift, &made);
            let share = if share > 0.0 { share.min(1.0) as f32 } else { 0.0 };
            shift.iter_mut().for_each(|x| *x *= share);
        }
        self
    }

    /// Targets of rounding rows, those of the matrix from `first` on: their weights, moved so that they put out for the
    /// quantized model's inputs what they put out for the unquantized model's, and what the state lacks.
    pub(crate) fn targets(&self, rows: &[f32], first: usize) -> Vec<f32> {
        let n = self.columns;
        let mut targets = rows.to_vec();
        if let Some(shift) = &self.shift {
            let shift = &shift[first * n..];
            targets.iter_mut().zip(shift).for_each(|(t, s)| *t += s);
        }
        if let Some(drift) = &self.drift {
            let mut moved = vec![0.0; rows.len()];
            drift.multiply(Strided::rows(rows, rows.len() / n, n), 0..n, &mut moved, n, 1.0);
            targets.iter_mut().zip(&moved).for_each(|(t, m)| *t += m);
        }
        targets
    }
}

/// Rows that are solved for, or multiplied, together.
const TOGETHER: usize = 16;

/// Replaces rows r by r (M Mᵀ)⁻¹ for an upper triangular M.
fn solve(factor: &[f64], rows: &mut [f64], n: usize) {
    rows.par_chunks_mut(TOGETHER * n).for_each(|rows| {
        let mut columns = vec![[0.0f64; TOGETHER]; n];
        for (r, row) in rows.chunks_exact(n).enumerate() {
            row.iter()
                .zip(&mut columns)
                .for_each(|(x, column)| column[r] = *x);
        }
        wide(
            #[inline(always)]
            || solve_columns(factor, &mut columns, n),
        );
        for (r, row) in rows.chunks_exact_mut(n).enumerate() {
            row.iter_mut()
                .zip(&columns)
                .for_each(|(x, column)| *x = column[r]);
        }
    });
}

#[inline(always)]
fn solve_columns(factor: &[f64], columns: &mut [[f64; TOGETHER]], n: usize) {
    // z Mᵀ = r, from the last column on.
    for i in (0..n).rev() {
        let (left, done) = columns.split_at_mut(i + 1);
        let column = &mut left[i];
        for (m, z) in factor[i * n + i + 1..(i + 1) * n].iter().zip(&*done) {
            for lane in 0..TOGETHER {
                column[lane] -= m * z[lane];
            }
        }
        column.iter_mut().for_each(|x| *x /= factor[i * n + i]);
    }
    // y M = z, from the first on.
    for i in 0..n {
        let (done, left) = columns.split_at_mut(i + 1);
        let column = &mut done[i];
        column.iter_mut().for_each(|x| *x /= factor[i * n + i]);
        for (m, z) in factor[i * n + i + 1..(i + 1) * n].iter().zip(left) {
            for lane in 0..TOGETHER {
                z[lane] -= m * column[lane];
            }
        }
    }
}

#[cfg(test)]
mod tests;
