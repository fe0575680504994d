//! [`super::scalar::fit`] and [`super::scalar::descend`], sub-blocks in lanes.

use crate::isa::lanes::{round, store_levels};
use crate::isa::{Lanes, MOST_LANES, Pair, Single};
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

    /// The move of element `i`: whether it raises the fit, the level, and the sums with it.
    #[inline(always)]
    fn attempt(&self, isa: L::Isa, i: usize, max_level: i32) -> (L::Mask, L, L, L) {
        let zero = L::splat(isa, 0.0);
        let Self {
            x,
            levels,
            sum_xl,
            sum_l2,
        } = self;
        let (x, level, sum_xl, sum_l2) = (x[i], levels[i], *sum_xl, *sum_l2);
        let weight = x * x;
        let weighted = weight * x;
        let other_xl = sum_xl - weighted * level;
        let other_l2 = sum_l2 - weight * level * level;
        let moved = (x * other_l2 / other_xl).nearest_int();
        let moved = L::to_float(L::clamp(moved, -max_level, max_level - 1));
        let moved_xl = other_xl + weighted * moved;
        let moved_l2 = other_l2 + weight * moved * moved;
        let fits = L::and(zero.less(other_xl), zero.less(moved_l2));
        let better = (sum_xl * sum_xl * moved_l2).less(moved_xl * moved_xl * sum_l2);
        let moves = L::and_not(L::and(fits, better), moved.equal(level));
        (moves, moved, moved_xl, moved_l2)
    }

    /// The lanes in which a round would move a level. Up to the first that moves, elements are tried with the sums as they
    /// are now, so that none has to wait for the one before it.
    #[inline(always)]
    fn moves(&self, isa: L::Isa, max_level: i32) -> L::Mask {
        let zero = L::splat(isa, 0.0);
        let mut moved_any = zero.less(zero);
        for i in 0..N {
            let (moves, ..) = self.attempt(isa, i, max_level);
            moved_any = L::or(moved_any, moves);
        }
        moved_any
    }

    /// Moves each level once, where that raises the fit; says in which lanes one was moved.
    #[inline(always)]
    fn round(mut self, isa: L::Isa, max_level: i32) -> (Self, L::Mask) {
        let zero = L::splat(isa, 0.0);
        // Not written in place: the compiler would make masked stores of that, which some processors take ten
        // times as long for.
        let mut next = [zero; N];
        let mut moved_any = zero.less(zero);
        for (i, next) in next.iter_mut().enumerate() {
            let (moves, moved, moved_xl, moved_l2) = self.attempt(isa, i, max_level);
            self.sum_xl = L::select(moves, moved_xl, self.sum_xl);
            self.sum_l2 = L::select(moves, moved_l2, self.sum_l2);
            *next = L::select(moves, moved, self.levels[i]);
            moved_any = L::or(moved_any, moves);
        }
        self.levels = next;
        (self, moved_any)
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
        // Masks in registers of their own would lengthen the chain from one element to the next.
        descend_together::<Pair<L>, N>(
            isa,
            &x[r.clone()],
            max_level,
            &mut levels[r.clone()],
            &mut scales[r],
        );
    }
}

/// Sub-blocks between rounds.
struct Together<const N: usize> {
    /// Those in which a round may move something, the first `count`.
    open: [usize; TOGETHER],
    count: usize,
    sums_xl: [f32; TOGETHER],
    sums_l2: [f32; TOGETHER],
}

impl<const N: usize> Together<N> {
    /// Keeps the levels and sums of the sub-blocks at these places of `open`.
    #[inline(always)]
    fn keep<L: Lanes>(
        &mut self,
        isa: L::Isa,
        places: std::ops::Range<usize>,
        descent: &Descent<L, N>,
        max_level: i32,
        levels: &mut [[u8; N]],
    ) {
        let raise = L::splat(isa, max_level as f32);
        let mut raised = [L::splat_int(isa, 0); N];
        for (raised, &level) in raised.iter_mut().zip(&descent.levels) {
            *raised = (level + raise).nearest_int();
        }
        let mut stored = [[0; N]; MOST_LANES];
        store_levels::<L, N>(&mut stored[..L::COUNT], &raised);
        let (mut lanes_xl, mut lanes_l2) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
        descent.sum_xl.store(&mut lanes_xl[..L::COUNT]);
        descent.sum_l2.store(&mut lanes_l2[..L::COUNT]);
        for (lane, place) in places.enumerate() {
            let i = self.open[place];
            levels[i] = stored[lane];
            self.sums_xl[i] = lanes_xl[lane];
            self.sums_l2[i] = lanes_l2[lane];
        }
    }

    /// Leaves those open, of the ones at these places, whose bit is set.
    #[inline(always)]
    fn leave(&mut self, places: std::ops::Range<usize>, bits: u32, still_open: &mut usize) {
        for (lane, place) in places.enumerate() {
            self.open[*still_open] = self.open[place];
            *still_open += usize::from(bits >> lane & 1 == 1);
        }
    }
}

/// Coordinate descent, sub-blocks in lanes. In most of them the first round moves nothing, which is found without going
/// from element to element. The others, three in ten, are gathered for the rounds; those in which one moves nothing are
/// done, for another finds the same.
#[inline(always)]
fn descend_together<L: Lanes, const N: usize>(
    isa: L::Isa,
    x: &[[f32; N]],
    max_level: i32,
    levels: &mut [[u8; N]],
    scales: &mut [f32],
) {
    let mut negligible = [false; TOGETHER];
    let mut together = Together::<N> {
        open: std::array::from_fn(|i| i),
        count: x.len(),
        sums_xl: [0.0; TOGETHER],
        sums_l2: [0.0; TOGETHER],
    };
    let mut still_open = 0;
    for first in (0..x.len()).step_by(L::COUNT) {
        let places = first..x.len().min(first + L::COUNT);
        let columns = if places.len() == L::COUNT {
            L::columns(isa, &x[places.clone()])
        } else {
            // The lanes left over are filled with zeros, in which nothing moves.
            let mut rows = [[0.0; N]; MOST_LANES];
            rows[..places.len()].copy_from_slice(&x[places.clone()]);
            L::columns(isa, &rows[..L::COUNT])
        };
        let extreme = extremes(isa, &columns);
        let small = L::bits(extreme.abs().less(L::splat(isa, NEGLIGIBLE)));
        for (lane, i) in places.clone().enumerate() {
            negligible[i] = small >> lane & 1 == 1;
        }
        let descent = Descent::start(isa, columns, extreme, max_level);
        let moves = L::bits(descent.moves(isa, max_level));
        together.keep(isa, places.clone(), &descent, max_level, levels);
        together.leave(places, moves & !small, &mut still_open);
    }
    together.count = still_open;
    for _ in 0..5 {
        let mut still_open = 0;
        for first in (0..together.count).step_by(L::COUNT) {
            let places = first..together.count.min(first + L::COUNT);
            let (mut rows, mut at) = ([[0.0; N]; MOST_LANES], [[0.0; N]; MOST_LANES]);
            let (mut lanes_xl, mut lanes_l2) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
            for (lane, &i) in together.open[places.clone()].iter().enumerate() {
                rows[lane] = x[i];
                at[lane] = each(&levels[i], |level| f32::from(level) - max_level as f32);
                lanes_xl[lane] = together.sums_xl[i];
                lanes_l2[lane] = together.sums_l2[i];
            }
            let descent = Descent {
                x: L::columns(isa, &rows[..L::COUNT]),
                levels: L::columns(isa, &at[..L::COUNT]),
                sum_xl: L::load(isa, &lanes_xl[..L::COUNT]),
                sum_l2: L::load(isa, &lanes_l2[..L::COUNT]),
            };
            let (descent, moved) = descent.round(isa, max_level);
            together.keep(isa, places.clone(), &descent, max_level, levels);
            together.leave(places, L::bits(moved), &mut still_open);
        }
        together.count = still_open;
    }
    for (i, scale) in scales.iter_mut().enumerate() {
        *scale = if together.sums_l2[i] > 0.0 {
            together.sums_xl[i] / together.sums_l2[i]
        } else {
            0.0
        };
        if negligible[i] {
            *scale = 0.0;
            levels[i] = [0; N];
        }
    }
}
