//! [`super::scalar::fit`], blocks in lanes.

use super::scalar::{MIDDLES, TRIES, VALUES};
use crate::isa::{Lanes, Single};
use crate::reduce::NEGLIGIBLE;
use crate::search::symmetric::lanes::extremes;
use crate::search::tiles::{in_lanes, padded};

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
fn nearest_value<L: Lanes>(isa: L::Isa, x: L) -> L {
    const THIRD: [f32; 8] = every_fourth_middle(1);
    const FOURTH: [f32; 8] = every_second_middle();
    const EVEN: [f32; 8] = every_second_value(0);
    const ODD: [f32; 8] = every_second_value(1);
    let upper_half = x.at_least(L::splat(isa, MIDDLES[7]));
    let middle = L::select(upper_half, L::splat(isa, MIDDLES[11]), L::splat(isa, MIDDLES[3]));
    let index = L::append(L::append(L::splat_int(isa, 0), upper_half), x.at_least(middle));
    let index = L::append(index, x.at_least(L::lookup(&THIRD, index)));
    let odd = x.at_least(L::lookup(&FOURTH, index));
    L::select(odd, L::lookup(&ODD, index), L::lookup(&EVEN, index))
}

/// Σ weight·x·value and Σ weight·value² with the values nearest to `inverse`·x.
#[inline(always)]
fn moments<L: Lanes>(isa: L::Isa, x: &[L; 32], weights: &[L; 32], inverse: L) -> (L, L) {
    let (mut sum_qx, mut sum_q2) = (L::splat(isa, 0.0), L::splat(isa, 0.0));
    for i in 0..32 {
        let value = nearest_value(isa, inverse * x[i]);
        let weighted = weights[i] * value;
        sum_qx = sum_qx + weighted * x[i];
        sum_q2 = sum_q2 + weighted * value;
    }
    (sum_qx, sum_q2)
}

/// Fits blocks in lanes.
#[inline(always)]
pub(crate) fn fit<L: Single>(isa: L::Isa, x: &[[f32; 32]], weights: &[[f32; 32]], scales: &mut [f32]) {
    in_lanes!(
        x.len(),
        |Lane, r| tile::<Lane<L>>(isa, &x[r.clone()], &weights[r.clone()], &mut scales[r]),
        |r| {
            let mut padded_scales = [0.0; 8];
            tile::<L>(
                isa,
                &padded(&x[r.clone()], 0.0),
                &padded(&weights[r.clone()], 0.0),
                &mut padded_scales,
            );
            scales[r.clone()].copy_from_slice(&padded_scales[..r.len()]);
        }
    );
}

/// As many blocks as there are lanes.
#[inline(always)]
fn tile<L: Lanes>(isa: L::Isa, x: &[[f32; 32]], weights: &[[f32; 32]], scales: &mut [f32]) {
    let zero = L::splat(isa, 0.0);
    let x = L::columns(isa, x);
    let weights = L::columns(isa, weights);
    let extreme = extremes(isa, &x);
    let negligible = extreme.abs().less(L::splat(isa, NEGLIGIBLE));
    let lowest = f32::from(VALUES[0]);
    let (sum_qx, sum_q2) = moments(
        isa,
        &x,
        &weights,
        L::splat(isa, 1.0) / (extreme.neg() / L::splat(isa, lowest)),
    );
    let mut scale = L::select(zero.less(sum_q2), sum_qx / sum_q2, zero);
    let mut best = scale * sum_qx;
    for offset in -TRIES..=TRIES {
        let (sum_qx, sum_q2) = moments(
            isa,
            &x,
            &weights,
            L::splat(isa, f32::from(offset) + lowest) / extreme,
        );
        let better = L::and(zero.less(sum_q2), (best * sum_q2).less(sum_qx * sum_qx));
        scale = L::select(better, sum_qx / sum_q2, scale);
        best = L::select(better, scale * sum_qx, best);
    }
    L::select(negligible, zero, scale).store(scales);
}
