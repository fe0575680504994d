//! Normalization of rows.

use rayon::prelude::*;

use super::Matrix;
use crate::wide::wide;

const LANES: usize = 16;

/// Sum of squares with a fixed number of partial sums, which vectorizes and loses less than one long sum.
#[inline(always)]
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

/// Scales one row to a root mean square of one: `x / sqrt(mean(x^2) + eps)`.
#[inline(always)]
fn rms_norm_row(row: &mut [f32], eps: f32) {
    let mean = sum_of_squares(row) / row.len() as f64;
    let scale = (1.0 / (mean + f64::from(eps)).sqrt()) as f32;
    for x in row {
        *x *= scale;
    }
}

/// Shifts and scales one row to a mean of zero and a variance of one: `(x - mean) / sqrt(variance + eps)`.
#[inline(always)]
fn layer_norm_row(row: &mut [f32], eps: f32) {
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64;
    for x in row.iter_mut() {
        *x = (f64::from(*x) - mean) as f32;
    }
    rms_norm_row(row, eps);
}

/// Function of a norm before its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Root mean square of one.
    Rms,
    /// Mean of zero, variance of one.
    Layer,
}

/// A norm of consecutive groups of elements (whole rows, or the heads of each row) with its learned weights.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub(crate) kind: NormKind,
    /// Elements that are normalized at a time.
    pub(crate) group: usize,
    /// None, as many as `group`, or as many as several groups, which take turns.
    pub(crate) weight: Vec<f32>,
    /// As many as weights, or none.
    pub(crate) bias: Vec<f32>,
    pub(crate) eps: f32,
    /// The tensor that the weights are, number for number, where they are one's. The bias, where there is one, is beside it.
    pub(crate) tensor: Option<String>,
}

impl Norm {
    /// A root-mean-square norm of as many elements at a time as it has weights.
    #[cfg(test)]
    pub(crate) fn rms(weight: Vec<f32>, eps: f32) -> Self {
        Self {
            kind: NormKind::Rms,
            group: weight.len(),
            weight,
            bias: Vec::new(),
            eps,
            tensor: None,
        }
    }

    /// The same without weights and bias.
    pub(crate) fn bare(&self) -> Self {
        Self {
            weight: Vec::new(),
            bias: Vec::new(),
            tensor: None,
            ..*self
        }
    }

    /// Normalizes each group of a row (the whole row, or each head) in place.
    pub(crate) fn apply(&self, x: &mut Matrix) {
        self.apply_to(&mut x.data);
    }

    /// The same of a copy: `out` takes over `x`, which has the same shape, and is normalized while it is at hand.
    pub(crate) fn apply_to_copy(&self, x: &Matrix, out: &mut Matrix) {
        debug_assert_eq!((x.rows, x.cols), (out.rows, out.cols));
        let block = self.block();
        out.data
            .par_chunks_mut(block)
            .zip(x.data.par_chunks(block))
            .for_each(|(out, x)| {
                out.copy_from_slice(x);
                self.apply_to_block(out);
            });
    }

    fn apply_to(&self, data: &mut [f32]) {
        data.par_chunks_mut(self.block())
            .for_each(|block| self.apply_to_block(block));
    }

    /// Elements after which groups and weights begin anew.
    fn period(&self) -> usize {
        self.weight.len().max(self.group)
    }

    /// Elements that a thread takes at a time.
    fn block(&self) -> usize {
        let period = self.period();
        period * 4096usize.div_ceil(period)
    }

    fn apply_to_block(&self, block: &mut [f32]) {
        wide(
            #[inline(always)]
            || {
                let rows = block.chunks_mut(self.period());
                rows.for_each(|row| self.apply_to_row(row));
            },
        );
    }

    #[inline(always)]
    fn apply_to_row(&self, row: &mut [f32]) {
        for group in row.chunks_mut(self.group) {
            match self.kind {
                NormKind::Rms => rms_norm_row(group, self.eps),
                NormKind::Layer => layer_norm_row(group, self.eps),
            }
        }
        for (x, w) in row.iter_mut().zip(&self.weight) {
            *x *= w;
        }
        for (x, b) in row.iter_mut().zip(&self.bias) {
            *x += b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_mean_square_of_heads() {
        let mut data = vec![3.0, 4.0, -6.0, 8.0];
        Norm::rms(vec![1.0, 2.0], 0.0).apply_to(&mut data);
        let rms = 12.5f32.sqrt();
        for (got, want) in data.iter().zip([3.0 / rms, 8.0 / rms, -3.0 / rms, 8.0 / rms]) {
            assert!((got - want).abs() < 1e-6);
        }
    }

    #[test]
    fn weights_of_several_heads_take_turns() {
        let mut data = vec![1.0, 3.0, 1.0, 3.0];
        let norm = Norm {
            kind: NormKind::Layer,
            group: 2,
            weight: vec![1.0, 1.0, 2.0, 3.0],
            bias: vec![0.0, 0.0, 0.5, 0.0],
            eps: 0.0,
            tensor: None,
        };
        norm.apply_to(&mut data);
        assert_eq!(data, [-1.0, 1.0, -1.5, 3.0]);
    }

    #[test]
    fn epsilon_counts() {
        let mut data = vec![1e-3; 64];
        Norm::rms(vec![1.0; 64], 1e-6).apply_to(&mut data);
        assert!((data[7] - 1e-3 / 2e-6f32.sqrt()).abs() < 1e-6);
    }
}
