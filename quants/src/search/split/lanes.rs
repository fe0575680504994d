//! The best split of a sorted block (IQ1_S, IQ1_M): second boundaries in lanes.
//!
//! The scalar search tries splits in order, and each has to beat the best before it. Most of its time goes to
//! replacing a best that will be replaced again. Here some of the splits are tried first, and then the scalar search
//! starts with a little less than the best of their scores to beat. See [`Splits::bar`] for why the outcome is the
//! same.

use super::scalar::{DOWN, SHIFTS, STEPS_DOWN, STEPS_UP, Split, Sums, UP};
use crate::isa::Lanes;

/// The lanes, of which [`Sums`] has enough from each boundary on.
const LANES: usize = 8;

/// The sums Σ weight·x·value and Σ weight·value² of a split.
type Moments<L> = (L, L);

/// The splits of a block.
trait Splits<L: Lanes, const S: usize, const H: usize> {
    /// The number of weights that are split.
    const LEN: usize;
    /// The shifts that each split is tried with, in order.
    const SHIFTS: [[bool; H]; S];

    /// For each of the shifts, the moments of the splits before `first` and before each of the positions from `second`
    /// on. Lanes behind the end repeat the last split.
    fn moments(&self, isa: L::Isa, first: usize, second: usize) -> [Moments<L>; S];

    /// Whether Σ weight·value² is well within the range of exact products for every split.
    fn exact(&self) -> bool;

    /// A score that the best split beats and that decides nothing: [`f32::MIN`], or a little less than the best score
    /// of a sample of splits, which most likely are about as good as the best.
    ///
    /// The scalar search accepts a split whose score is above the best before it, but for the rounding of a few
    /// products. Of the scores between the bar and the highest, at least 2^-8 apart, take a gap that is wider than
    /// rounding and that no split's score is in: there are more places for it than splits. Before the first split
    /// above the gap, the best of the scalar search is below the gap, and so is that of a search which starts at the
    /// bar. So both accept that split, and from there on they are the same. This takes sums within the range in which
    /// products neither overflow nor lose digits; where they are not, there is no bar.
    #[inline(always)]
    fn bar(&self, isa: L::Isa) -> f32 {
        // A best of each lane, for each of the shifts: comparing does not wait for the comparison before it.
        let mut best_x = [L::splat(isa, 0.0); S];
        let mut best_w = [L::splat(isa, 1.0); S];
        // Weights around zero have about a quarter below the first boundary and as many above the second.
        let mut first = Self::LEN / 8;
        while first <= Self::LEN * 3 / 8 {
            let mut second = first;
            while second <= Self::LEN {
                let moments = self.moments(isa, first, second);
                for s in 0..S {
                    let (sum_qx, sum_q2) = moments[s];
                    let square = sum_qx * sum_qx;
                    let better = (best_x[s] * sum_q2).less(square * best_w[s]);
                    best_x[s] = L::select(better, square, best_x[s]);
                    best_w[s] = L::select(better, sum_q2, best_w[s]);
                }
                second += LANES;
            }
            first += 2;
        }
        let mut score = best_x[0] / best_w[0];
        for s in 1..S {
            score = (best_x[s] / best_w[s]).max(score);
        }
        let mut lanes = [0.0; LANES];
        score.store(&mut lanes);
        let score = lanes.into_iter().fold(0.0, f32::max);
        if (LOW..HIGH).contains(&score) && self.exact() {
            score * (1.0 - 1.0 / 256.0)
        } else {
            f32::MIN
        }
    }

    /// The best split; `None` if all weights of error are zero.
    #[inline(always)]
    fn best(&self, isa: L::Isa) -> Option<Split<H>> {
        let mut best = self.bar(isa);
        let mut split = None;
        // Counted by hand: stepped ranges and destructured arrays cost more than the sums.
        for first in 0..=Self::LEN {
            let mut next = first;
            while next <= Self::LEN {
                let second = next;
                next += LANES;
                let moments = self.moments(isa, first, second);
                // The best only grows: a split that does not beat it now does not beat it later.
                let score = L::splat(isa, best);
                let better = moments
                    .map(|(sum_qx, sum_q2)| (score * sum_q2).less(sum_qx * sum_qx))
                    .into_iter()
                    .reduce(L::or)
                    .expect("a shift");
                let mut any = L::bits(better);
                if any == 0 {
                    continue;
                }
                any &= u32::MAX >> (31 - (Self::LEN - second).min(31));
                let (mut sums_qx, mut sums_q2) = ([[0.0; LANES]; S], [[0.0; LANES]; S]);
                for s in 0..S {
                    moments[s].0.store(&mut sums_qx[s]);
                    moments[s].1.store(&mut sums_q2[s]);
                }
                while any != 0 {
                    let lane = any.trailing_zeros() as usize;
                    any &= any - 1;
                    for s in 0..S {
                        let (sum_qx, sum_q2) = (sums_qx[s][lane], sums_q2[s][lane]);
                        if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                            let scale = sum_qx / sum_q2;
                            best = scale * sum_qx;
                            split = Some(Split {
                                scale,
                                at: (first, second + lane),
                                up: Self::SHIFTS[s],
                            });
                        }
                    }
                }
            }
        }
        split
    }
}

/// Scores and sums between these have products that are neither too large nor too small.
const LOW: f32 = 1e-10;
const HIGH: f32 = 1e10;

/// Whether Σ weight·value² is within the range for every split, given the sum of weights none of which is negative:
/// the values' squares are between 1/64 and 81/64.
#[inline(always)]
fn in_range(sum_of_weights: f32) -> bool {
    (128.0 * LOW..HIGH / 2.0).contains(&sum_of_weights)
}

/// A block with one shift.
struct Whole<'a> {
    x: &'a Sums<32>,
    w: &'a Sums<32>,
}

impl<L: Lanes> Splits<L, 2, 1> for Whole<'_> {
    const LEN: usize = 32;
    const SHIFTS: [[bool; 1]; 2] = [[true], [false]];

    #[inline(always)]
    fn exact(&self) -> bool {
        self.w.ascend() && in_range(self.w.total())
    }

    #[inline(always)]
    fn moments(&self, isa: L::Isa, first: usize, second: usize) -> [Moments<L>; 2] {
        let (first_x, first_w) = (self.x.at(first), self.w.at(first));
        let (second_x, second_w) = (
            L::load(isa, self.x.from(second)),
            L::load(isa, self.w.from(second)),
        );
        let middle_x = second_x - L::splat(isa, first_x);
        let middle_w = second_w - L::splat(isa, first_w);
        let top_x = L::splat(isa, self.x.total()) - second_x;
        let top_w = L::splat(isa, self.w.total()) - second_w;
        let zero = L::splat(isa, 0.0);
        let mut moments = [(zero, zero); 2];
        for (moments, values) in moments.iter_mut().zip([UP, DOWN]) {
            let (middle, top) = (L::splat(isa, values[1]), L::splat(isa, values[2]));
            moments.0 = L::splat(isa, first_x * values[0]) + middle_x * middle + top_x * top;
            moments.1 = L::splat(isa, first_w * values[0] * values[0])
                + middle_w * middle * middle
                + top_w * top * top;
        }
        moments
    }
}

/// A block with a shift for each half.
struct Halves<'a> {
    x: &'a [Sums<16>; 2],
    w: &'a [Sums<16>; 2],
}

impl<L: Lanes> Splits<L, 4, 2> for Halves<'_> {
    const LEN: usize = 16;
    const SHIFTS: [[bool; 2]; 4] = SHIFTS;

    #[inline(always)]
    fn exact(&self) -> bool {
        self.w.iter().all(Sums::ascend) && in_range(self.w[0].total() + self.w[1].total())
    }

    #[inline(always)]
    fn moments(&self, isa: L::Isa, first: usize, second: usize) -> [Moments<L>; 4] {
        let zero = L::splat(isa, 0.0);
        // For each half, with the shift up and down.
        let mut sums = [[(zero, zero); 2]; 2];
        for (sums, (x, w)) in sums.iter_mut().zip(self.x.iter().zip(self.w)) {
            let below = L::splat(isa, x.at(first)) + L::load(isa, x.from(second));
            let second_w = L::load(isa, w.from(second));
            for (shift, (values, steps)) in [(UP, STEPS_UP), (DOWN, STEPS_DOWN)].into_iter().enumerate() {
                let top = values[2];
                let before = w.total() * top * top + w.at(first) * steps[0];
                sums[shift] = (
                    L::splat(isa, x.total() * top) - below,
                    L::splat(isa, before) + second_w * L::splat(isa, steps[1]),
                );
            }
        }
        let [[up, down], [other_up, other_down]] = sums;
        [
            sum(up, other_up),
            sum(up, other_down),
            sum(down, other_up),
            sum(down, other_down),
        ]
    }
}

#[inline(always)]
fn sum<L: Lanes>(a: Moments<L>, b: Moments<L>) -> Moments<L> {
    (a.0 + b.0, a.1 + b.1)
}

/// The best split with one shift.
#[inline(always)]
pub(crate) fn best<L: Lanes>(isa: L::Isa, x: &Sums<32>, w: &Sums<32>) -> Option<Split<1>> {
    const { assert!(L::COUNT == LANES) };
    Splits::<L, 2, 1>::best(&Whole { x, w }, isa)
}

/// The best split with a shift for each half.
#[inline(always)]
pub(crate) fn best_of_halves<L: Lanes>(
    isa: L::Isa,
    x: &[Sums<16>; 2],
    w: &[Sums<16>; 2],
) -> Option<Split<2>> {
    const { assert!(L::COUNT == LANES) };
    Splits::<L, 4, 2>::best(&Halves { x, w }, isa)
}
