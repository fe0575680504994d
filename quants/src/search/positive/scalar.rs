//! The specification: a scale of one row of values for levels that are not negative.

use crate::reduce::NEGLIGIBLE;
use crate::round::nearest_int;

/// The levels of `x` for an inverse scale, at most `max_level`.
#[inline(always)]
fn levels_of<const N: usize>(x: &[f32; N], inverse: f32, max_level: i32) -> [i32; N] {
    x.map(|x| nearest_int(inverse * x).min(max_level))
}

/// The weighted squared error of `scale * level`.
#[inline(always)]
fn error<const N: usize>(x: &[f32; N], weights: &[f32; N], levels: &[i32; N], scale: f32) -> f32 {
    (0..N).fold(0.0, |sum, i| {
        let difference = x[i] - scale * levels[i] as f32;
        sum + weights[i] * difference * difference
    })
}

/// Finds the scale of least weighted squared error for the scales (or minima) of a super-block:
/// nine inverse scales, then coordinate descent of up to five rounds (ggml's `make_qp_quants`).
///
/// Writes the levels and returns the scale. Levels are stored in bytes between the steps, so that
/// the negative ones which negative elements give wrap around.
#[inline(always)]
pub(crate) fn fit<const N: usize>(
    x: &[f32; N],
    max_level: i32,
    weights: &[f32; N],
    levels: &mut [u8; N],
) -> f32 {
    let mut max = 0.0;
    for &x in x {
        max = if max > x { max } else { x };
    }
    if max < NEGLIGIBLE {
        *levels = [0; N];
        return 0.0;
    }
    let mut inverse = max_level as f32 / max;
    let wrapped = x.map(|x| i32::from(nearest_int(inverse * x) as u8));
    let mut best = error(x, weights, &wrapped, 1.0 / inverse);
    for step in (-4..=4).filter(|step| *step != 0) {
        let this_inverse = (0.1 * step as f32 + max_level as f32) / max;
        let candidate = levels_of(x, this_inverse, max_level);
        let this_error = error(x, weights, &candidate, 1.0 / this_inverse);
        if this_error < best {
            best = this_error;
            inverse = this_inverse;
        }
    }
    let initial = levels_of(x, inverse, max_level);
    let mut sum_xl = 0.0;
    let mut sum_l2 = 0.0;
    for i in 0..N {
        let (w, level) = (weights[i], initial[i] as f32);
        sum_xl += w * x[i] * level;
        sum_l2 += w * level * level;
    }
    *levels = initial.map(|level| level as u8);
    for _ in 0..5 {
        let mut changed = false;
        for i in 0..N {
            let (x, w, level) = (x[i], weights[i], f32::from(levels[i]));
            let mut other_xl = sum_xl - w * x * level;
            let mut other_l2 = sum_l2 - w * level * level;
            if other_xl > 0.0 && other_l2 > 0.0 {
                let moved = nearest_int(x * other_l2 / other_xl).min(max_level);
                if moved != i32::from(levels[i]) {
                    let level = moved as f32;
                    other_xl += w * x * level;
                    other_l2 += w * level * level;
                    if other_xl * other_xl * sum_l2 > sum_xl * sum_xl * other_l2 {
                        levels[i] = moved as u8;
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
    if sum_l2 > 0.0 { sum_xl / sum_l2 } else { 0.0 }
}
