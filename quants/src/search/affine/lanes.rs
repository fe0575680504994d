//! [`super::scalar::fit`], sub-blocks in lanes.

use super::scalar::{AffineFit, Candidates, ErrorMeasure};
use crate::isa::lanes::store_levels;
use crate::isa::{Lanes, MOST_LANES, Single};
use crate::search::tiles::{in_lanes, padded};

/// Fits sub-blocks in lanes. False, with nothing done to some, where levels may be too large for lanes.
#[inline(always)]
#[must_use]
pub(crate) fn fit<L: Single, const N: usize>(
    isa: L::Isa,
    x: &[[f32; N]],
    weights: &[[f32; N]],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [[u8; N]],
    fits: &mut [AffineFit],
) -> bool {
    let mut done = true;
    in_lanes!(
        x.len(),
        |Lane, r| done &= tile::<Lane<L>, N>(
            isa,
            &x[r.clone()],
            &weights[r.clone()],
            max_level,
            candidates,
            &mut levels[r.clone()],
            &mut fits[r]
        ),
        |r| {
            let mut padded_levels = [[0; N]; 8];
            let mut padded_fits = [AffineFit::default(); 8];
            done &= tile::<L, N>(
                isa,
                &padded(&x[r.clone()], 0.0),
                &padded(&weights[r.clone()], 0.0),
                max_level,
                candidates,
                &mut padded_levels,
                &mut padded_fits,
            );
            levels[r.clone()].copy_from_slice(&padded_levels[..r.len()]);
            fits[r.clone()].copy_from_slice(&padded_fits[..r.len()]);
        }
    );
    done
}

/// As many sub-blocks as there are lanes.
#[inline(always)]
fn tile<L: Lanes, const N: usize>(
    isa: L::Isa,
    x: &[[f32; N]],
    weights: &[[f32; N]],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [[u8; N]],
    fits: &mut [AffineFit],
) -> bool {
    match candidates.measure {
        ErrorMeasure::Squared => {
            measured::<L, N, false>(isa, x, weights, max_level, candidates, levels, fits)
        }
        ErrorMeasure::Absolute => {
            measured::<L, N, true>(isa, x, weights, max_level, candidates, levels, fits)
        }
    }
}

/// The data of an element that the tries read and write. Side by side: processors take a load for a load of what was
/// just stored a multiple of 4096 bytes away, and wait.
#[derive(Clone, Copy)]
struct Element<L> {
    x: L,
    weight: L,
    /// The level of the present try.
    level: L,
}

/// Magnitudes below which [`Lanes::rounded`] is [`crate::round::nearest_int`], with some room.
const ROUNDED: f32 = 4e6;

/// Levels for an inverse scale and a start, for products below [`ROUNDED`].
#[inline(always)]
fn level_of<L: Lanes>(isa: L::Isa, x: L, inverse: L, min: L, most: L) -> L {
    (inverse * (x - min)).rounded().max(L::splat(isa, 0.0)).min(most)
}

/// The weighted error of `scale * level + min`.
#[inline(always)]
fn error<L: Lanes, const N: usize, const ABSOLUTE: bool>(
    isa: L::Isa,
    elements: &[Element<L>; N],
    scale: L,
    min: L,
) -> L {
    let mut sum = L::splat(isa, 0.0);
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

/// Fits with one measure; false where levels may be beyond [`ROUNDED`].
#[expect(
    clippy::too_many_lines,
    reason = "one loop over candidates, whose float operations are in stock's order"
)]
#[inline(always)]
fn measured<L: Lanes, const N: usize, const ABSOLUTE: bool>(
    isa: L::Isa,
    x: &[[f32; N]],
    weights: &[[f32; N]],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [[u8; N]],
    fits: &mut [AffineFit],
) -> bool {
    let zero = L::splat(isa, 0.0);
    let most = L::splat(isa, max_level as f32);
    let x = &L::columns(isa, x);
    let weights = &L::columns(isa, weights);
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
    let mut scale = L::splat(isa, 1.0) / best_inverse;
    let mut elements = [Element {
        x: zero,
        weight: zero,
        level: zero,
    }; N];
    for i in 0..N {
        elements[i] = Element {
            x: x[i],
            weight: weights[i],
            level: level_of(isa, x[i], best_inverse, min, most),
        };
    }
    let mut best = error::<L, N, ABSOLUTE>(isa, &elements, scale, min);
    for step in 0..=candidates.last {
        let spread = candidates.first + candidates.step * f32::from(step) + max_level as f32;
        let inverse = L::splat(isa, spread) / (max - min);
        let reach = (max - min).abs().max((smallest - min).abs()) * inverse;
        let near = reach.less(L::splat(isa, ROUNDED));
        let far = L::and_not(zero.equal(zero), near);
        if L::any(L::and_not(far, flat)) {
            return false;
        }
        let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
        // Two loops: in one, instructions that wait for a level would fill the processor's queue.
        for Element { x, level, .. } in &mut elements {
            *level = level_of(isa, *x, inverse, min, most);
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
        let this_error = error::<L, N, ABSOLUTE>(isa, &elements, this_scale, this_min);
        let better = L::and(solvable, this_error.less(best));
        best = L::select(better, this_error, best);
        best_inverse = L::select(better, inverse, best_inverse);
        // The levels of this candidate start from the minimum before it.
        best_start = L::select(better, min, best_start);
        scale = L::select(better, this_scale, scale);
        min = L::select(better, this_min, min);
    }

    // Levels are a function of the inverse scale and the start: those of the best are computed again.
    let none = L::splat_int(isa, 0);
    let mut chosen = [none; N];
    for i in 0..N {
        let level = level_of(isa, x[i], best_inverse, best_start, most).nearest_int();
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
