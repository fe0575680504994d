//! The specification: a scale of one sub-block for levels around zero.

use crate::levels::each;
use crate::reduce::{NEGLIGIBLE, signed_extreme};
use crate::round::nearest_int;

/// The signed levels of `x` for an inverse scale, in `-max_level..max_level`.
#[inline(always)]
fn signed_levels<const N: usize>(x: &[f32; N], inverse: f32, max_level: i32) -> [i32; N] {
    std::array::from_fn(|i| nearest_int(inverse * x[i]).clamp(-max_level, max_level - 1))
}

/// The weighted sums of `x * level` and of `level * level`.
#[inline(always)]
fn moments<const N: usize>(x: &[f32; N], weights: &[f32; N], levels: &[i32; N]) -> (f32, f32) {
    let mut sum_xl = 0.0;
    let mut sum_l2 = 0.0;
    for i in 0..N {
        let (w, level) = (weights[i], levels[i] as f32);
        sum_xl += w * x[i] * level;
        sum_l2 += w * level * level;
    }
    (sum_xl, sum_l2)
}

/// Finds the scale of least weighted squared error among nineteen around the one that maps the
/// extreme element to `-max_level` (ggml's `make_qx_quants`).
///
/// Writes the levels, raised by `max_level` to be non-negative, and returns the scale. A negligible
/// sub-block gives scale zero and levels of zero, unraised.
#[inline(always)]
pub(crate) fn fit<const N: usize>(
    x: &[f32; N],
    max_level: i32,
    weights: &[f32; N],
    levels: &mut [u8; N],
) -> f32 {
    let extreme = signed_extreme(x);
    if extreme.abs() < NEGLIGIBLE {
        *levels = [0; N];
        return 0.0;
    }
    let mut chosen = signed_levels(x, -max_level as f32 / extreme, max_level);
    let (sum_xl, sum_l2) = moments(x, weights, &chosen);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_xl / sum_l2 };
    let mut best = scale * sum_xl;
    for step in (-9..=9).filter(|step| *step != 0) {
        let inverse = -(max_level as f32 + 0.1 * step as f32) / extreme;
        let candidate = signed_levels(x, inverse, max_level);
        let (sum_xl, sum_l2) = moments(x, weights, &candidate);
        if sum_l2 > 0.0 && sum_xl * sum_xl > best * sum_l2 {
            chosen = candidate;
            scale = sum_xl / sum_l2;
            best = scale * sum_xl;
        }
    }
    *levels = chosen.map(|level| (level + max_level) as u8);
    scale
}

/// Finds a scale by coordinate descent: up to five rounds, each moving single levels to where they
/// raise the fit, errors weighted with the squared elements (ggml's `make_q3_quants`).
///
/// Writes the levels, raised by `max_level` to be non-negative, and returns the scale. A negligible
/// sub-block gives scale zero and levels of zero, unraised.
#[inline(always)]
pub(crate) fn descend<const N: usize>(x: &[f32; N], max_level: i32, levels: &mut [u8; N]) -> f32 {
    let extreme = signed_extreme(x);
    if extreme.abs() < NEGLIGIBLE {
        *levels = [0; N];
        return 0.0;
    }
    let weights = x.map(|x| x * x);
    let mut current = signed_levels(x, -max_level as f32 / extreme, max_level);
    let (mut sum_xl, mut sum_l2) = moments(x, &weights, &current);
    for _ in 0..5 {
        let mut changed = false;
        for i in 0..N {
            let (x, w, level) = (x[i], weights[i], current[i] as f32);
            let mut other_xl = sum_xl - w * x * level;
            if other_xl > 0.0 {
                let mut other_l2 = sum_l2 - w * level * level;
                let moved = nearest_int(x * other_l2 / other_xl).clamp(-max_level, max_level - 1);
                if moved != current[i] {
                    let level = moved as f32;
                    other_xl += w * x * level;
                    other_l2 += w * level * level;
                    if other_l2 > 0.0 && other_xl * other_xl * sum_l2 > sum_xl * sum_xl * other_l2 {
                        current[i] = moved;
                        sum_xl = other_xl;
                        sum_l2 = other_l2;
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    *levels = current.map(|level| (level + max_level) as u8);
    if sum_l2 > 0.0 { sum_xl / sum_l2 } else { 0.0 }
}

/// The levels of a sub-block for its stored scale, raised by `max_level`. Those of the search stay where
/// the stored scale is zero.
#[inline(always)]
pub(crate) fn refine<const N: usize>(x: &[f32; N], scale: f32, max_level: i32, levels: &mut [u8; N]) {
    if scale != 0.0 {
        *levels = each(x, |x| {
            let level = nearest_int(x / scale).clamp(-max_level, max_level - 1);
            (level + max_level) as u8
        });
    }
}
