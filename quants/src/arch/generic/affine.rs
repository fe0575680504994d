//! [`crate::search::fit_affine`] in lanes.

use super::{Lanes, MOST_LANES, store_levels};
use crate::search::{AffineFit, Candidates, ErrorMeasure};

/// Sub-blocks in lanes.
#[inline(always)]
pub(super) fn fit<L: Lanes, const N: usize>(
    x: &[[f32; N]],
    weights: &[[f32; N]],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [[u8; N]],
    fits: &mut [AffineFit],
) {
    match candidates.measure {
        ErrorMeasure::Squared => measured::<L, N, false>(x, weights, max_level, candidates, levels, fits),
        ErrorMeasure::Absolute => measured::<L, N, true>(x, weights, max_level, candidates, levels, fits),
    }
}

/// Levels for an inverse scale and a start.
#[inline(always)]
fn level_of<L: Lanes>(x: L, inverse: L, min: L, max_level: i32) -> L::Int {
    L::clamp((inverse * (x - min)).nearest_int(), 0, max_level)
}

/// The weighted error of `scale * level + min`.
#[inline(always)]
fn error<L: Lanes, const N: usize, const ABSOLUTE: bool>(
    x: &[L; N],
    weights: &[L; N],
    levels: &[L; N],
    scale: L,
    min: L,
) -> L {
    let mut sum = L::splat(0.0);
    for i in 0..N {
        let difference = scale * levels[i] + min - x[i];
        let measured = if ABSOLUTE {
            difference.abs()
        } else {
            difference * difference
        };
        sum = sum + weights[i] * measured;
    }
    sum
}

#[inline(always)]
fn measured<L: Lanes, const N: usize, const ABSOLUTE: bool>(
    x: &[[f32; N]],
    weights: &[[f32; N]],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [[u8; N]],
    fits: &mut [AffineFit],
) {
    let zero = L::splat(0.0);
    let x = &L::columns(x);
    let weights = &L::columns(weights);
    let mut min = x[0];
    let mut max = x[0];
    let mut sum_w = weights[0];
    let mut sum_x = sum_w * x[0];
    for i in 1..N {
        min = x[i].min(min);
        max = x[i].max(max);
        sum_w = sum_w + weights[i];
        sum_x = sum_x + weights[i] * x[i];
    }
    min = zero.min(min);
    let flat = max.equal(min);
    let flat_min = min;

    let mut best_inverse = L::splat(max_level as f32) / (max - min);
    let mut best_start = min;
    let mut scale = L::splat(1.0) / best_inverse;
    let mut candidate = [zero; N];
    for i in 0..N {
        candidate[i] = L::to_float(level_of(x[i], best_inverse, min, max_level));
    }
    let mut best = error::<L, N, ABSOLUTE>(x, weights, &candidate, scale, min);
    for step in 0..=candidates.last {
        let spread = candidates.first + candidates.step * f32::from(step) + max_level as f32;
        let inverse = L::splat(spread) / (max - min);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
        for i in 0..N {
            let level = L::to_float(level_of(x[i], inverse, min, max_level));
            candidate[i] = level;
            let weighted = weights[i] * level;
            sum_l = sum_l + weighted;
            sum_l2 = sum_l2 + weighted * level;
            sum_xl = sum_xl + weighted * x[i];
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        let solvable = zero.less(determinant);
        if !L::any(solvable) {
            continue;
        }
        let this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let this_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        let above = zero.less(this_min);
        let this_min = L::select(above, zero, this_min);
        let this_scale = L::select(above, sum_xl / sum_l2, this_scale);
        let this_error = error::<L, N, ABSOLUTE>(x, weights, &candidate, this_scale, this_min);
        let better = L::and(solvable, this_error.less(best));
        best = L::select(better, this_error, best);
        best_inverse = L::select(better, inverse, best_inverse);
        // The levels of this candidate start from the minimum before it.
        best_start = L::select(better, min, best_start);
        scale = L::select(better, this_scale, scale);
        min = L::select(better, this_min, min);
    }

    // Levels are a function of the inverse scale and the start: those of the best are made again.
    let none = L::splat_int(0);
    let mut chosen = [none; N];
    for i in 0..N {
        chosen[i] = L::int_select(flat, none, level_of(x[i], best_inverse, best_start, max_level));
    }
    store_levels::<L, N>(levels, &chosen);
    let (mut scales, mut mins) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
    L::select(flat, zero, scale).store(&mut scales[..L::COUNT]);
    let min = L::select(flat, flat_min, min).neg();
    min.store(&mut mins[..L::COUNT]);
    for ((fit, scale), min) in fits.iter_mut().zip(scales).zip(mins) {
        *fit = AffineFit { scale, min };
    }
}
