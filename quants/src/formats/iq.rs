//! How much the error of each weight counts in the i-quant encoders.

use crate::levels::each;
use crate::search::error_weights;

/// The `index`-th `N` weights of importance.
#[inline(always)]
pub(crate) fn part<const N: usize>(importance: Option<&[f32]>, index: usize) -> Option<&[f32; N]> {
    importance.map(|importance| &importance.as_chunks::<N>().0[index])
}

/// The weights of a block's errors: from its importance and the variance around it, or `otherwise(x)`.
#[inline(always)]
pub(crate) fn block_weights<const N: usize>(
    x: &[f32; N],
    importance: Option<&[f32; N]>,
    variance: f32,
    otherwise: impl Fn(f32) -> f32,
) -> [f32; N] {
    match importance {
        Some(importance) => error_weights(x, importance, variance),
        None => each(x, otherwise),
    }
}
