//! [`super::scalar::fit`] and [`super::scalar::descend`], sub-blocks in lanes.

use crate::isa::lanes::{round, store_levels};
use crate::isa::{Lanes, MOST_LANES, Pair};
use crate::levels::each;
use crate::reduce::{NEGLIGIBLE, signed_extreme};
use crate::search::tiles::in_lanes;

/// The element of largest magnitude of each sub-block.
#[inline(always)]
pub(crate) fn extremes<L: Lanes, const N: usize>(isa: L::Isa, x: &[L; N]) -> L {
    let (mut largest, mut extreme) = (L::splat(isa, 0.0), L::splat(isa, 0.0));
    for &x in x {
        let magnitude = x.abs();
        let larger = largest.less(magnitude);
        largest = L::select(larger, magnitude, largest);
        extreme = L::select(larger, x, extreme);
    }
    extreme
}

/// Signed levels for an inverse scale, as floats.
#[inline(always)]
fn signed_level<L: Lanes>(isa: L::Isa, x: L, inverse: L, max_level: i32) -> L {
    // No product is larger than the levels are many, since the extreme element gives the largest.
    round(isa, inverse * x)
        .max(L::splat(isa, -max_level as f32))
        .min(L::splat(isa, (max_level - 1) as f32))
}

/// Σ weight·x·level and Σ weight·level² for the levels of an inverse scale.
#[inline(always)]
fn moments<L: Lanes, const N: usize>(
    isa: L::Isa,
    x: &[L; N],
    weights: &[L; N],
    weighted: &[L; N],
    inverse: L,
    max_level: i32,
) -> (L, L) {
    let (mut sum_xl, mut sum_l2) = (L::splat(isa, 0.0), L::splat(isa, 0.0));
    for i in 0..N {
        let level = signed_level(isa, x[i], inverse, max_level);
        sum_xl = sum_xl + weighted[i] * level;
        sum_l2 = sum_l2 + weights[i] * level * level;
    }
    (sum_xl, sum_l2)
}

/// Fits sub-blocks in lanes; where there are less than lanes, one after another with candidates in lanes. The levels of
/// a scale of NaN are left open.
#[inline(always)]
pub(crate) fn fit<L: Lanes, const N: usize>(
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
        |r| for i in r {
            scales[i] = fit_one::<L, N>(isa, &x[i], max_level, &weights[i], &mut levels[i]);
        }
    );
}

/// As many sub-blocks as there are lanes.
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
    let mut weighted = [zero; N];
    for i in 0..N {
        weighted[i] = weights[i] * x[i];
    }
    let extreme = extremes(isa, &x);
    let negligible = extreme.abs().less(L::splat(isa, NEGLIGIBLE));
    let mut best_inverse = L::splat(isa, -max_level as f32) / extreme;
    let (sum_xl, sum_l2) = moments(isa, &x, &weights, &weighted, best_inverse, max_level);
    let mut scale = L::select(sum_l2.equal(zero), zero, sum_xl / sum_l2);
    let mut best = scale * sum_xl;
    for step in (-9..=9).filter(|step| *step != 0) {
        let inverse = L::splat(isa, -(max_level as f32 + 0.1 * step as f32)) / extreme;
        let (sum_xl, sum_l2) = moments(isa, &x, &weights, &weighted, inverse, max_level);
        let better = L::and(zero.less(sum_l2), (best * sum_l2).less(sum_xl * sum_xl));
        scale = L::select(better, sum_xl / sum_l2, scale);
        best = L::select(better, scale * sum_xl, best);
        best_inverse = L::select(better, inverse, best_inverse);
    }
    // Levels are a function of the inverse scale: those of the best are computed again.
    let raise = L::splat(isa, max_level as f32);
    let mut chosen = [L::splat_int(isa, 0); N];
    for i in 0..N {
        let level = signed_level(isa, x[i], best_inverse, max_level) + raise;
        chosen[i] = L::select(negligible, zero, level).nearest_int();
    }
    store_levels::<L, N>(levels, &chosen);
    L::select(negligible, zero, scale).store(scales);
}

/// The inverse scales tried, the first in a lane of its own, and the lanes left over.
const TRIES: usize = 19;

/// Candidates in lanes.
#[inline(always)]
fn fit_one<L: Lanes, const N: usize>(
    isa: L::Isa,
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
    let inverses: [[f32; 8]; 3] = std::array::from_fn(|part| {
        std::array::from_fn(|lane| match 8 * part + lane {
            0 => -max_level as f32 / extreme,
            lane => {
                let step = if lane <= 9 {
                    lane as i32 - 10
                } else {
                    lane as i32 - 9
                };
                -(max_level as f32 + 0.1 * step as f32) / extreme
            }
        })
    });
    let mut inverse_lanes = [L::splat(isa, 0.0); 3];
    for part in 0..3 {
        inverse_lanes[part] = L::load(isa, &inverses[part]);
    }
    let (mut sums_xl, mut sums_l2) = ([L::splat(isa, 0.0); 3], [L::splat(isa, 0.0); 3]);
    for i in 0..N {
        let (element, weight) = (L::splat(isa, x[i]), L::splat(isa, weights[i]));
        let weighted = L::splat(isa, weights[i] * x[i]);
        for part in 0..3 {
            let level = (inverse_lanes[part] * element).nearest_int();
            let level = L::to_float(L::clamp(level, -max_level, max_level - 1));
            sums_xl[part] = sums_xl[part] + weighted * level;
            sums_l2[part] = sums_l2[part] + weight * level * level;
        }
    }
    let (mut tried_xl, mut tried_l2) = ([[0.0; 8]; 3], [[0.0; 8]; 3]);
    for part in 0..3 {
        sums_xl[part].store(&mut tried_xl[part]);
        sums_l2[part].store(&mut tried_l2[part]);
    }
    let (sums_xl, sums_l2) = (tried_xl, tried_l2);
    let (sum_xl, sum_l2) = (sums_xl[0][0], sums_l2[0][0]);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_xl / sum_l2 };
    let mut best = scale * sum_xl;
    let mut best_inverse = inverses[0][0];
    for lane in 1..TRIES {
        let (sum_xl, sum_l2) = (sums_xl[lane / 8][lane % 8], sums_l2[lane / 8][lane % 8]);
        if sum_l2 > 0.0 && sum_xl * sum_xl > best * sum_l2 {
            scale = sum_xl / sum_l2;
            best = scale * sum_xl;
            best_inverse = inverses[lane / 8][lane % 8];
        }
    }
    *levels = x.map(|x| {
        let level = crate::round::nearest_int(best_inverse * x).clamp(-max_level, max_level - 1);
        (level + max_level) as u8
    });
    scale
}

/// Sub-blocks in the midst of the descent.
struct Descent<L, const N: usize> {
    x: [L; N],
    levels: [L; N],
    /// Σ weight·x·level and Σ weight·level² of the levels.
    sum_xl: L,
    sum_l2: L,
}

impl<L: Lanes, const N: usize> Descent<L, N> {
    /// The start, at which the extreme elements have the lowest level.
    #[inline(always)]
    fn start(isa: L::Isa, x: [L; N], extreme: L, max_level: i32) -> Self {
        let zero = L::splat(isa, 0.0);
        let inverse = L::splat(isa, -max_level as f32) / extreme;
        let (mut sum_xl, mut sum_l2) = (zero, zero);
        let mut levels = [zero; N];
        for i in 0..N {
            let weight = x[i] * x[i];
            let level = signed_level(isa, x[i], inverse, max_level);
            sum_xl = sum_xl + weight * x[i] * level;
            sum_l2 = sum_l2 + weight * level * level;
            levels[i] = level;
        }
        Self {
            x,
            levels,
            sum_xl,
            sum_l2,
        }
    }

    /// Moves each level once, where that raises the fit; says in which lanes one was moved.
    #[inline(always)]
    fn round(self, isa: L::Isa, max_level: i32) -> (Self, L::Mask) {
        let zero = L::splat(isa, 0.0);
        let Self {
            x,
            levels,
            mut sum_xl,
            mut sum_l2,
        } = self;
        // Not written in place: the compiler would make masked stores of that, which some processors take ten
        // times as long for.
        let mut next = [zero; N];
        let mut moved_any = zero.less(zero);
        for i in 0..N {
            let (weight, level) = (x[i] * x[i], levels[i]);
            let weighted = weight * x[i];
            let other_xl = sum_xl - weighted * level;
            let other_l2 = sum_l2 - weight * level * level;
            let moved = (x[i] * other_l2 / other_xl).nearest_int();
            let moved = L::to_float(L::clamp(moved, -max_level, max_level - 1));
            let moved_xl = other_xl + weighted * moved;
            let moved_l2 = other_l2 + weight * moved * moved;
            let fits = L::and(zero.less(other_xl), zero.less(moved_l2));
            let better = (sum_xl * sum_xl * moved_l2).less(moved_xl * moved_xl * sum_l2);
            let moves = L::and_not(L::and(fits, better), moved.equal(level));
            sum_xl = L::select(moves, moved_xl, sum_xl);
            sum_l2 = L::select(moves, moved_l2, sum_l2);
            next[i] = L::select(moves, moved, level);
            moved_any = L::or(moved_any, moves);
        }
        let descent = Self {
            x,
            levels: next,
            sum_xl,
            sum_l2,
        };
        (descent, moved_any)
    }
}

/// Sub-blocks that descend together, at most.
const TOGETHER: usize = 128;

/// Coordinate descent.
#[inline(always)]
pub(crate) fn descend<L: Lanes, const N: usize>(
    isa: L::Isa,
    x: &[[f32; N]],
    max_level: i32,
    levels: &mut [[u8; N]],
    scales: &mut [f32],
) {
    for start in (0..x.len()).step_by(TOGETHER) {
        let r = start..x.len().min(start + TOGETHER);
        descend_together::<Pair<L>, N>(
            isa,
            &x[r.clone()],
            max_level,
            &mut levels[r.clone()],
            &mut scales[r],
        );
    }
}

/// Coordinate descent, sub-blocks in lanes. Those in which a round moves nothing are done: another finds the same.
/// The others, one in five, are gathered for the next.
#[inline(always)]
fn descend_together<L: Lanes, const N: usize>(
    isa: L::Isa,
    x: &[[f32; N]],
    max_level: i32,
    levels: &mut [[u8; N]],
    scales: &mut [f32],
) {
    let mut sums_xl = [0.0; TOGETHER];
    let mut sums_l2 = [0.0; TOGETHER];
    let mut negligible = [false; TOGETHER];
    let mut open: [usize; TOGETHER] = std::array::from_fn(|i| i);
    let mut count = x.len();
    for round in 0..5 {
        let mut still_open = 0;
        for first in (0..count).step_by(L::COUNT) {
            let places = first..count.min(first + L::COUNT);
            let group = &open[places.clone()];
            // The lanes left over are filled with zeros, in which nothing moves.
            let mut rows = [[0.0; N]; MOST_LANES];
            for (row, &i) in rows.iter_mut().zip(group) {
                *row = x[i];
            }
            let columns = L::columns(isa, &rows[..L::COUNT]);
            let descent = if round == 0 {
                let extreme = extremes(isa, &columns);
                let lanes = L::bits(extreme.abs().less(L::splat(isa, NEGLIGIBLE)));
                for (lane, &i) in group.iter().enumerate() {
                    negligible[i] = lanes >> lane & 1 == 1;
                }
                Descent::start(isa, columns, extreme, max_level)
            } else {
                let (mut lanes_xl, mut lanes_l2) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
                for (lane, &i) in group.iter().enumerate() {
                    rows[lane] = each(&levels[i], |level| f32::from(level) - max_level as f32);
                    lanes_xl[lane] = sums_xl[i];
                    lanes_l2[lane] = sums_l2[i];
                }
                Descent {
                    x: columns,
                    levels: L::columns(isa, &rows[..L::COUNT]),
                    sum_xl: L::load(isa, &lanes_xl[..L::COUNT]),
                    sum_l2: L::load(isa, &lanes_l2[..L::COUNT]),
                }
            };
            let (descent, moved) = descent.round(isa, max_level);

            let raise = L::splat(isa, max_level as f32);
            let mut raised = [L::splat_int(isa, 0); N];
            for (raised, &level) in raised.iter_mut().zip(&descent.levels) {
                *raised = (level + raise).nearest_int();
            }
            let mut stored = [[0; N]; MOST_LANES];
            store_levels::<L, N>(&mut stored, &raised);
            let (mut lanes_xl, mut lanes_l2) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
            descent.sum_xl.store(&mut lanes_xl[..L::COUNT]);
            descent.sum_l2.store(&mut lanes_l2[..L::COUNT]);
            let moved = L::bits(moved);
            for (lane, place) in places.enumerate() {
                let i = open[place];
                levels[i] = stored[lane];
                sums_xl[i] = lanes_xl[lane];
                sums_l2[i] = lanes_l2[lane];
                open[still_open] = i;
                still_open += usize::from(moved >> lane & 1 == 1 && !negligible[i]);
            }
        }
        count = still_open;
    }
    for (i, scale) in scales.iter_mut().enumerate() {
        *scale = if sums_l2[i] > 0.0 {
            sums_xl[i] / sums_l2[i]
        } else {
            0.0
        };
        if negligible[i] {
            *scale = 0.0;
            levels[i] = [0; N];
        }
    }
}
