//! [`crate::search::fit_affine`] in lanes.

use crate::isa::lanes::{Lanes, MOST_LANES, round, store_levels};
use crate::search::kernel::{Kernel, Scalar};
use crate::search::{AffineFit, Candidates, ErrorMeasure};

/// Sub-blocks in lanes.
#[inline(always)]
pub(crate) fn fit<L: Lanes, const N: usize>(
    x: &[[f32; N]],
    weights: &[[f32; N]],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [[u8; N]],
    fits: &mut [AffineFit],
) {
    let done = match candidates.measure {
        ErrorMeasure::Squared => measured::<L, N, false>(x, weights, max_level, candidates, levels, fits),
        ErrorMeasure::Absolute => measured::<L, N, true>(x, weights, max_level, candidates, levels, fits),
    };
    if !done {
        Scalar::fit_affine(x, weights, max_level, candidates, levels, fits);
    }
}

/// What the tries read and write of an element: side by side, because what is written at one place and read at
/// another some multiple of 4096 bytes away is taken for the same by processors, which then wait.
#[derive(Clone, Copy)]
struct Element<L> {
    x: L,
    weight: L,
    /// The level of the present try.
    level: L,
}

/// Magnitudes below which [`round`] is [`crate::round::nearest_int`], with some room.
const ROUNDED: f32 = 4e6;

/// Levels for an inverse scale and a start, for products below [`ROUNDED`].
#[inline(always)]
fn level_of<L: Lanes>(x: L, inverse: L, min: L, most: L) -> L {
    round(inverse * (x - min)).max(L::splat(0.0)).min(most)
}

/// The weighted error of `scale * level + min`.
#[inline(always)]
fn error<L: Lanes, const N: usize, const ABSOLUTE: bool>(elements: &[Element<L>; N], scale: L, min: L) -> L {
    let mut sum = L::splat(0.0);
    for element in elements {
        let difference = scale * element.level + min - element.x;
        let measured = if ABSOLUTE {
            difference.abs()
        } else {
            difference * difference
        };
        sum = sum + element.weight * measured;
    }
    sum
}

/// Whether it could be done: not where levels may be beyond [`ROUNDED`].
#[inline(always)]
fn measured<L: Lanes, const N: usize, const ABSOLUTE: bool>(
    x: &[[f32; N]],
    weights: &[[f32; N]],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [[u8; N]],
    fits: &mut [AffineFit],
) -> bool {
    let zero = L::splat(0.0);
    let most = L::splat(max_level as f32);
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
    let smallest = min;
    min = zero.min(min);
    let flat = max.equal(min);
    let flat_min = min;

    let mut best_inverse = most / (max - min);
    let mut best_start = min;
    let mut scale = L::splat(1.0) / best_inverse;
    let mut elements = [Element {
        x: zero,
        weight: zero,
        level: zero,
    }; N];
    for i in 0..N {
        elements[i] = Element {
            x: x[i],
            weight: weights[i],
            level: level_of(x[i], best_inverse, min, most),
        };
    }
    let mut best = error::<L, N, ABSOLUTE>(&elements, scale, min);
    for step in 0..=candidates.last {
        let spread = candidates.first + candidates.step * f32::from(step) + max_level as f32;
        let inverse = L::splat(spread) / (max - min);
        let reach = (max - min).abs().max((smallest - min).abs()) * inverse;
        let near = reach.less(L::splat(ROUNDED));
        let far = L::and_not(zero.equal(zero), near);
        if L::any(L::and_not(far, flat)) {
            return false;
        }
        let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
        // Two loops: in one, what waits for a level would fill the processor's queue.
        for Element { x, level, .. } in &mut elements {
            *level = level_of(*x, inverse, min, most);
        }
        for &Element { x, weight, level } in &elements {
            let weighted = weight * level;
            sum_l = sum_l + weighted;
            sum_l2 = sum_l2 + weighted * level;
            sum_xl = sum_xl + weighted * x;
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
        let this_error = error::<L, N, ABSOLUTE>(&elements, this_scale, this_min);
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
        let level = level_of(x[i], best_inverse, best_start, most).nearest_int();
        chosen[i] = L::int_select(flat, none, level);
    }
    store_levels::<L, N>(levels, &chosen);
    let (mut scales, mut mins) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
    L::select(flat, zero, scale).store(&mut scales[..L::COUNT]);
    let min = L::select(flat, flat_min, min).neg();
    min.store(&mut mins[..L::COUNT]);
    for ((fit, scale), min) in fits.iter_mut().zip(scales).zip(mins) {
        *fit = AffineFit { scale, min };
    }
    true
}
