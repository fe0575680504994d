//! Normalization of rows.

use rayon::prelude::*;

use super::Matrix;

const LANES: usize = 16;

/// Sum of squares with a fixed number of partial sums, which vectorizes and loses less than one long sum.
fn sum_of_squares(row: &[f32]) -> f64 {
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (s, x) in sums.iter_mut().zip(chunk) {
            *s += x * x;
        }
    }
    let rest = rest.iter().map(|x| f64::from(x * x)).sum::<f64>();
    sums.iter().map(|&s| f64::from(s)).sum::<f64>() + rest
}

/// Scales one row to a root mean square of one: `x / sqrt(mean(x^2) + eps) * weight`.
fn rms_norm_row(row: &mut [f32], weight: &[f32], eps: f32) {
    let mean = sum_of_squares(row) / row.len() as f64;
    let scale = (1.0 / (mean + f64::from(eps)).sqrt()) as f32;
    for (x, w) in row.iter_mut().zip(weight) {
        *x = *x * scale * w;
    }
}

/// Root-mean-square norm of consecutive groups of `weight.len()` elements: whole rows, or the heads of
/// each row.
fn rms_norm(data: &mut [f32], weight: &[f32], eps: f32) {
    let group = weight.len();
    let block = group * 4096usize.div_ceil(group);
    data.par_chunks_mut(block).for_each(|block| {
        block
            .chunks_exact_mut(group)
            .for_each(|row| rms_norm_row(row, weight, eps))
    });
}

/// A root-mean-square norm with its learned weights, as many as it normalizes at a time.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Vec<f32>,
    pub(crate) eps: f32,
}

impl Norm {
    /// Normalizes each group of a row (the whole row, or each head) in place.
    pub(crate) fn apply(&self, x: &mut Matrix) {
        rms_norm(&mut x.data, &self.weight, self.eps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_mean_square_of_heads() {
        let mut data = vec![3.0, 4.0, -6.0, 8.0];
        rms_norm(&mut data, &[1.0, 2.0], 0.0);
        let rms = 12.5f32.sqrt();
        for (got, want) in data.iter().zip([3.0 / rms, 8.0 / rms, -3.0 / rms, 8.0 / rms]) {
            assert!((got - want).abs() < 1e-6);
        }
    }

    #[test]
    fn epsilon_counts() {
        let mut data = vec![1e-3; 64];
        rms_norm(&mut data, &[1.0; 64], 1e-6);
        assert!((data[7] - 1e-3 / 2e-6f32.sqrt()).abs() < 1e-6);
    }
}
