//! The weights of the encoders' errors, from importance.

use crate::levels::build;
use crate::reduce::sums_of_squares;

/// The weight of each error: its importance, raised with the weight's magnitude against the
/// variance of its neighbourhood.
#[inline(always)]
pub(crate) fn error_weights<const N: usize>(x: &[f32; N], importance: &[f32; N], variance: f32) -> [f32; N] {
    build(|i| importance[i] * (variance + x[i] * x[i]).sqrt())
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
