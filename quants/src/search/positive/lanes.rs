//! [`super::scalar::fit`], rows in lanes.

use crate::isa::lanes::store_levels;
use crate::isa::{Lanes, Single};
use crate::reduce::NEGLIGIBLE;
use crate::search::tiles::{in_lanes, padded};

/// Levels for an inverse scale.
#[inline(always)]
fn level_of<L: Lanes>(x: L, inverse: L, max_level: i32) -> L::Int {
    L::clamp((inverse * x).nearest_int(), i32::MIN, max_level)
}

/// The weighted squared error of the levels of an inverse scale; the first are stored in bytes.
#[inline(always)]
fn error<L: Lanes, const N: usize, const BYTES: bool>(
    isa: L::Isa,
    x: &[L; N],
    weights: &[L; N],
    inverse: L,
    scale: L,
    max_level: i32,
) -> L {
    let mut sum = L::splat(isa, 0.0);
    for i in 0..N {
        let level = if BYTES {
            L::low_byte((inverse * x[i]).nearest_int())
        } else {
            level_of(x[i], inverse, max_level)
        };
        let difference = x[i] - scale * L::to_float(level);
        sum = sum + weights[i] * difference * difference;
    }
    sum
}

/// Fits rows in lanes.
#[inline(always)]
pub(crate) fn fit<L: Single, const N: usize>(
    isa: L::Isa,
    x: &[[f32; N]],
    max_level: i32,
    weights: &[[f32; N]],
    levels: &mut [[u8; N]],
    scales: &mut [f32],
) {
    in_lanes!(
        x.len(),
        |Lane, r| tile::<Lane<L>, N>(
            isa,
            &x[r.clone()],
            max_level,
            &weights[r.clone()],
            &mut levels[r.clone()],
            &mut scales[r]
        ),
        |r| {
            let mut padded_levels = [[0; N]; 8];
            let mut padded_scales = [0.0; 8];
            tile::<L, N>(
                isa,
                &padded(&x[r.clone()], 0.0),
                max_level,
                &padded(&weights[r.clone()], 0.0),
                &mut padded_levels,
                &mut padded_scales,
            );
            levels[r.clone()].copy_from_slice(&padded_levels[..r.len()]);
            scales[r.clone()].copy_from_slice(&padded_scales[..r.len()]);
        }
    );
}

/// As many rows as there are lanes.
#[inline(always)]
fn tile<L: Lanes, const N: usize>(
    isa: L::Isa,
    x: &[[f32; N]],
    max_level: i32,
    weights: &[[f32; N]],
    levels: &mut [[u8; N]],
    scales: &mut [f32],
) {
    let zero = L::splat(isa, 0.0);
    let x = L::columns(isa, x);
    let weights = L::columns(isa, weights);
    let mut max = zero;
    for &x in &x {
        max = max.max(x);
    }
    let negligible = max.less(L::splat(isa, NEGLIGIBLE));
    let one = L::splat(isa, 1.0);
    let mut inverse = L::splat(isa, max_level as f32) / max;
    let first = inverse;
    let mut best = error::<L, N, true>(isa, &x, &weights, first, one / first, max_level);
    for step in (-4..=4).filter(|step| *step != 0) {
        let this_inverse = L::splat(isa, 0.1 * step as f32 + max_level as f32) / max;
        let this_error = error::<L, N, false>(isa, &x, &weights, this_inverse, one / this_inverse, max_level);
        let better = this_error.less(best);
        best = L::select(better, this_error, best);
        inverse = L::select(better, this_inverse, inverse);
    }
    let mut current = [L::splat_int(isa, 0); N];
    let (mut sum_xl, mut sum_l2) = (zero, zero);
    for i in 0..N {
        let initial = level_of(x[i], inverse, max_level);
        let level = L::to_float(initial);
        sum_xl = sum_xl + weights[i] * x[i] * level;
        sum_l2 = sum_l2 + weights[i] * level * level;
        current[i] = L::low_byte(initial);
    }
    for _ in 0..5 {
        let mut changed = false;
        for i in 0..N {
            let level = L::to_float(current[i]);
            let weighted = weights[i] * x[i];
            let other_xl = sum_xl - weighted * level;
            let other_l2 = sum_l2 - weights[i] * level * level;
            let moved = L::clamp((x[i] * other_l2 / other_xl).nearest_int(), i32::MIN, max_level);
            let level = L::to_float(moved);
            let moved_xl = other_xl + weighted * level;
            let moved_l2 = other_l2 + weights[i] * level * level;
            let fits = L::and(zero.less(other_xl), zero.less(other_l2));
            let better = (sum_xl * sum_xl * moved_l2).less(moved_xl * moved_xl * sum_l2);
            let moves = L::and_not(L::and(fits, better), L::int_equal(moved, current[i]));
            sum_xl = L::select(moves, moved_xl, sum_xl);
            sum_l2 = L::select(moves, moved_l2, sum_l2);
            current[i] = L::int_select(moves, L::low_byte(moved), current[i]);
            changed |= L::any(moves);
        }
        if !changed {
            break;
        }
    }
    let none = L::splat_int(isa, 0);
    for level in &mut current {
        *level = L::int_select(negligible, none, *level);
    }
    store_levels::<L, N>(levels, &current);
    let scale = L::select(zero.less(sum_l2), sum_xl / sum_l2, zero);
    L::select(negligible, zero, scale).store(scales);
}
