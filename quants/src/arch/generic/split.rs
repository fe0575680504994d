//! The best split of a sorted block (IQ1_S, IQ1_M): second boundaries in lanes.
//!
//! Splits are tried in order and each has to beat the best before it, which few do. Lanes only tell whether one of
//! several splits does; those are then gone through in order.

use super::Lanes;
use crate::iq1::{DOWN, SHIFTS, STEPS_DOWN, STEPS_UP, Split, Sums, UP};

/// What [`Sums`] has from each boundary on is enough for these lanes.
const LANES: usize = 8;

/// The best so far.
struct Best<const H: usize> {
    score: f32,
    split: Option<Split<H>>,
}

impl<const H: usize> Best<H> {
    /// Goes through the splits before `first` and before each of the positions from `second` on, in order, all
    /// combinations of shifts (`tried` has the sums Σ weight·x·value and Σ weight·value² of each) of one before the next. Lanes behind the end repeat the last split.
    #[inline(always)]
    fn update<L: Lanes, const S: usize>(
        &mut self,
        tried: &[(L, L); S],
        shifts: &[[bool; H]; S],
        first: usize,
        second: usize,
    ) {
        // The best only grows, so that what is not better than an earlier one is not better later.
        let score = L::splat(self.score);
        let mut better = [0; S];
        let mut any = 0;
        for s in 0..S {
            let (sum_qx, sum_q2) = tried[s];
            let positive = L::splat(0.0).less(sum_q2);
            better[s] = L::bits(L::and(positive, (score * sum_q2).less(sum_qx * sum_qx)));
            any |= better[s];
        }
        if any == 0 {
            return;
        }
        let (mut sums_qx, mut sums_q2) = ([[0.0; LANES]; S], [[0.0; LANES]; S]);
        for s in 0..S {
            tried[s].0.store(&mut sums_qx[s]);
            tried[s].1.store(&mut sums_q2[s]);
        }
        while any != 0 {
            let lane = any.trailing_zeros() as usize;
            any &= any - 1;
            for s in 0..S {
                let (sum_qx, sum_q2) = (sums_qx[s][lane], sums_q2[s][lane]);
                if better[s] >> lane & 1 == 1 && sum_qx * sum_qx > self.score * sum_q2 {
                    let scale = sum_qx / sum_q2;
                    self.score = scale * sum_qx;
                    self.split = Some(Split {
                        scale,
                        at: (first, second + lane),
                        up: shifts[s],
                    });
                }
            }
        }
    }
}

/// The best split with one shift.
#[inline(always)]
pub(super) fn best<L: Lanes>(sums_x: &Sums<32>, sums_w: &Sums<32>) -> Option<Split<1>> {
    const { assert!(L::COUNT == LANES) };
    let mut best = Best {
        score: f32::MIN,
        split: None,
    };
    let (all_x, all_w) = (L::splat(sums_x.total()), L::splat(sums_w.total()));
    for first in 0..=32 {
        let (first_x, first_w) = (sums_x.at(first), sums_w.at(first));
        let (before_x, before_w) = (L::splat(first_x), L::splat(first_w));
        for second in (first..=32).step_by(LANES) {
            let (second_x, second_w) = (L::load(sums_x.from(second)), L::load(sums_w.from(second)));
            let (middle_x, top_x) = (second_x - before_x, all_x - second_x);
            let (middle_w, top_w) = (second_w - before_w, all_w - second_w);
            let zero = L::splat(0.0);
            let mut tried = [(zero, zero); 2];
            for (tried, values) in tried.iter_mut().zip([UP, DOWN]) {
                let (middle, top) = (L::splat(values[1]), L::splat(values[2]));
                tried.0 = L::splat(first_x * values[0]) + middle_x * middle + top_x * top;
                tried.1 = L::splat(first_w * values[0] * values[0])
                    + middle_w * middle * middle
                    + top_w * top * top;
            }
            best.update(&tried, &[[true], [false]], first, second);
        }
    }
    best.split
}

/// The best split with a shift for each half.
#[inline(always)]
pub(super) fn best_of_halves<L: Lanes>(sums_x: &[Sums<16>; 2], sums_w: &[Sums<16>; 2]) -> Option<Split<2>> {
    const { assert!(L::COUNT == LANES) };
    let mut best = Best {
        score: f32::MIN,
        split: None,
    };
    for first in 0..=16 {
        for second in (first..=16).step_by(LANES) {
            // For each half, the sums with the shift up and down.
            let zero = L::splat(0.0);
            let mut sums = [[(zero, zero); 2]; 2];
            for half in 0..2 {
                let (x, w) = (&sums_x[half], &sums_w[half]);
                let below = L::splat(x.at(first)) + L::load(x.from(second));
                let second_w = L::load(w.from(second));
                for (shift, (values, steps)) in [(UP, STEPS_UP), (DOWN, STEPS_DOWN)].into_iter().enumerate() {
                    let top = values[2];
                    let before = w.total() * top * top + w.at(first) * steps[0];
                    sums[half][shift] = (
                        L::splat(x.total() * top) - below,
                        L::splat(before) + second_w * L::splat(steps[1]),
                    );
                }
            }
            let mut tried = [(zero, zero); 4];
            for (tried, shifts) in tried.iter_mut().zip(SHIFTS) {
                let (a, b) = (sums[0][usize::from(!shifts[0])], sums[1][usize::from(!shifts[1])]);
                *tried = (a.0 + b.0, a.1 + b.1);
            }
            best.update(&tried, &SHIFTS, first, second);
        }
    }
    best.split
}
