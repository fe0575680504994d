//! The searches for scales that several formats share.
//!
//! Each works on one sub-block of fixed size. They are scalar on purpose: every sum runs in source
//! order, so that kernels which put one sub-block in each lane give the same bits. The algorithms
//! and the order of their float operations are those of ggml's `make_*_quants` functions.

pub(crate) mod affine;
pub(crate) mod codebook;
pub(crate) mod kernel;
pub(crate) mod nonlinear;
pub(crate) mod positive;
pub(crate) mod split;
pub(crate) mod symmetric;

pub(crate) use affine::{
    AffineFit, Candidates, ErrorMeasure, IMPORTANCE_CANDIDATES, fit_affine, refine_affine,
};
pub(crate) use positive::fit_positive;
pub(crate) use symmetric::{
    descend_symmetric, fit_symmetric, refine_symmetric, signed_extreme, signed_extreme_of,
};

use crate::levels::build;

/// A sub-block whose largest magnitude is below this is taken for zero.
pub(crate) const NEGLIGIBLE: f32 = 1e-15;

/// The sum of squares, in order.
pub(crate) fn sum_of_squares(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x * x)
}

/// The sum of squares of each of at most `R` rows of `x`, in order each: side by side, because an addition waits
/// for the one before it.
#[inline(always)]
pub(crate) fn sums_of_squares<const R: usize>(x: &[f32], row_len: usize) -> [f32; R] {
    // Where there are fewer rows, the first stands in.
    let rows: [&[f32]; R] = std::array::from_fn(|r| {
        let start = if (r + 1) * row_len <= x.len() {
            r * row_len
        } else {
            0
        };
        &x[start..][..row_len]
    });
    let mut sums = [0.0; R];
    for i in 0..row_len {
        for (sum, row) in sums.iter_mut().zip(&rows) {
            *sum += row[i] * row[i];
        }
    }
    sums
}

/// Rows that [`with_mean_squares`] takes at most.
pub(crate) const ROWS: usize = 8;

/// Calls `encode` with each of at most [`ROWS`] rows of `x`, the mean of its squares and its blocks.
#[inline(always)]
pub(crate) fn with_mean_squares<B>(
    x: &[f32],
    row_len: usize,
    blocks: &mut [B],
    encode: impl Fn(&[f32], f32, &mut [B]),
) {
    let sums = sums_of_squares::<ROWS>(x, row_len);
    let rows = x.chunks_exact(row_len);
    let blocks_per_row = blocks.len() / rows.len();
    for ((row, blocks), sum) in rows.zip(blocks.chunks_exact_mut(blocks_per_row)).zip(sums) {
        encode(row, sum / row_len as f32, blocks);
    }
}

/// The sum, in order.
pub(crate) fn sum(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x)
}

/// The weight of each error: its importance, raised with the weight's magnitude against the
/// variance of its neighbourhood.
#[inline(always)]
pub(crate) fn error_weights<const N: usize>(x: &[f32; N], importance: &[f32; N], variance: f32) -> [f32; N] {
    build(|i| importance[i] * (variance + x[i] * x[i]).sqrt())
}

/// The largest of `x`, but at least zero.
pub(crate) fn largest(x: &[f32]) -> f32 {
    x.iter()
        .fold(0.0, |largest, &x| if x > largest { x } else { largest })
}

/// The largest magnitude of finite elements; `None` if one is not finite. In whatever order: that of integers does
/// not matter.
#[inline(always)]
pub(crate) fn finite_magnitude<const N: usize>(x: &[f32; N]) -> Option<f32> {
    let bits = x
        .iter()
        .fold(0, |largest, x| (x.to_bits() & 0x7fff_ffff).max(largest));
    (bits < 0x7f80_0000).then(|| f32::from_bits(bits))
}

/// The smallest and the largest of `x`.
#[inline(always)]
pub(crate) fn range(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::MAX, -f32::MAX), |(min, max), &x| {
        (if x < min { x } else { min }, if x > max { x } else { max })
    })
}
