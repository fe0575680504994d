//! [`crate::formats::iq4_nl::fit_scale`] in lanes.

use crate::formats::iq4_nl::{MIDDLES, TRIES, VALUES};
use crate::isa::lanes::Lanes;
use crate::search::NEGLIGIBLE;
use crate::search::symmetric::lanes::extremes;

const fn every_fourth_middle(first: usize) -> [f32; 8] {
    let mut table = [0.0; 8];
    let mut i = 0;
    while i < 4 {
        table[i] = MIDDLES[first + 4 * i];
        i += 1;
    }
    table
}

const fn every_second_middle() -> [f32; 8] {
    let mut table = [0.0; 8];
    let mut i = 0;
    while i < 8 {
        table[i] = MIDDLES[2 * i];
        i += 1;
    }
    table
}

const fn every_second_value(first: usize) -> [f32; 8] {
    let mut table = [0.0; 8];
    let mut i = 0;
    while i < 8 {
        table[i] = VALUES[first + 2 * i] as f32;
        i += 1;
    }
    table
}

/// The value nearest to `x`, found by bisection over the middles between the values.
#[inline(always)]
fn nearest_value<L: Lanes>(x: L) -> L {
    const THIRD: [f32; 8] = every_fourth_middle(1);
    const FOURTH: [f32; 8] = every_second_middle();
    const EVEN: [f32; 8] = every_second_value(0);
    const ODD: [f32; 8] = every_second_value(1);
    let upper_half = x.at_least(L::splat(MIDDLES[7]));
    let middle = L::select(upper_half, L::splat(MIDDLES[11]), L::splat(MIDDLES[3]));
    let index = L::append(L::append(L::splat_int(0), upper_half), x.at_least(middle));
    let index = L::append(index, x.at_least(L::lookup(&THIRD, index)));
    let odd = x.at_least(L::lookup(&FOURTH, index));
    L::select(odd, L::lookup(&ODD, index), L::lookup(&EVEN, index))
}

/// Σ weight·x·value and Σ weight·value² with the values nearest to `inverse`·x.
#[inline(always)]
fn moments<L: Lanes>(x: &[L; 32], weights: &[L; 32], inverse: L) -> (L, L) {
    let (mut sum_qx, mut sum_q2) = (L::splat(0.0), L::splat(0.0));
    for i in 0..32 {
        let value = nearest_value(inverse * x[i]);
        let weighted = weights[i] * value;
        sum_qx = sum_qx + weighted * x[i];
        sum_q2 = sum_q2 + weighted * value;
    }
    (sum_qx, sum_q2)
}

/// Blocks in lanes.
#[inline(always)]
pub(crate) fn fit<L: Lanes>(x: &[[f32; 32]], weights: &[[f32; 32]], scales: &mut [f32]) {
    let zero = L::splat(0.0);
    let x = L::columns(x);
    let weights = L::columns(weights);
    let extreme = extremes(&x);
    let negligible = extreme.abs().less(L::splat(NEGLIGIBLE));
    let lowest = f32::from(VALUES[0]);
    let (sum_qx, sum_q2) = moments(&x, &weights, L::splat(1.0) / (extreme.neg() / L::splat(lowest)));
    let mut scale = L::select(zero.less(sum_q2), sum_qx / sum_q2, zero);
    let mut best = scale * sum_qx;
    for offset in -TRIES..=TRIES {
        let (sum_qx, sum_q2) = moments(&x, &weights, L::splat(f32::from(offset) + lowest) / extreme);
        let better = L::and(zero.less(sum_q2), (best * sum_q2).less(sum_qx * sum_qx));
        scale = L::select(better, sum_qx / sum_q2, scale);
        best = L::select(better, scale * sum_qx, best);
    }
    L::select(negligible, zero, scale).store(scales);
}
