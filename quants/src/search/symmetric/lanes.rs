//! [`super::scalar::fit`] and [`super::scalar::descend`], sub-blocks in lanes.

use crate::isa::lanes::store_levels;
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
    (inverse * x)
        .rounded()
        .max(L::splat(isa, -max_level as f32))
        .min(L::splat(isa, (max_level - 1) as f32))
}

/// The largest of the steps, tenths by which an inverse scale is above the one that makes the extreme element the lowest
/// level, at which this element is still rounded to that.
const LOWEST_AT_MOST: i32 = 4;

/// Σ weight·x·level and Σ weight·level² for the levels of an inverse scale; `BELOW`: whether elements may be rounded to
/// less than the lowest level.
#[inline(always)]
fn moments<L: Lanes, const N: usize, const BELOW: bool>(
    isa: L::Isa,
    x: &[L; N],
    weights: &[L; N],
    weighted: &[L; N],
    inverse: L,
    max_level: i32,
) -> (L, L) {
    let (mut sum_xl, mut sum_l2) = (L::splat(isa, 0.0), L::splat(isa, 0.0));
    for i in 0..N {
        let level = match BELOW {
            true => signed_level(isa, x[i], inverse, max_level),
            false => (inverse * x[i])
                .rounded()
                .min(L::splat(isa, (max_level - 1) as f32)),
        };
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
    // What is not finite shows here, where all levels are in range.
    let (sum_xl, sum_l2) = moments::<L, N, true>(isa, &x, &weights, &weighted, best_inverse, max_level);
    let mut scale = L::select(sum_l2.equal(zero), zero, sum_xl / sum_l2);
    let mut best = scale * sum_xl;
    for step in (-9..=9).filter(|step| *step != 0) {
        let inverse = L::splat(isa, -(max_level as f32 + 0.1 * step as f32)) / extreme;
        let (sum_xl, sum_l2) = match step <= LOWEST_AT_MOST {
            true => moments::<L, N, false>(isa, &x, &weights, &weighted, inverse, max_level),
            false => moments::<L, N, true>(isa, &x, &weights, &weighted, inverse, max_level),
        };
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

/// Magnitudes of extreme elements whose cubes and squares are far from the ends of `f32`.
const ORDINARY: [f32; 2] = [1e-6, 1e6];

/// The distance beyond which a level is not the nearest one, less what rounding may make of it: of the distance, and of
/// the sums.
const ALMOST_HALF: f32 = 0.499;
const ROUNDED: f32 = 1e-5;

/// Σ weight·x·level and Σ weight·level² of sub-blocks in lanes.
#[derive(Clone, Copy)]
struct Moments<L> {
    xl: L,
    l2: L,
}

impl<L: Lanes> Moments<L> {
    /// The start of the descent, at which the extreme elements have the lowest level, and the terms of `xl`.
    #[inline(always)]
    fn start<const N: usize>(
        isa: L::Isa,
        x: &[L; N],
        extreme: L,
        max_level: i32,
        levels: &mut [L; N],
        terms: &mut [L; N],
    ) -> Self {
        let zero = L::splat(isa, 0.0);
        let inverse = L::splat(isa, -max_level as f32) / extreme;
        let (mut xl, mut l2) = (zero, zero);
        for i in 0..N {
            let weight = x[i] * x[i];
            let level = signed_level(isa, x[i], inverse, max_level);
            terms[i] = weight * x[i] * level;
            xl = xl + terms[i];
            l2 = l2 + weight * level * level;
            levels[i] = level;
        }
        Self { xl, l2 }
    }

    /// The move of an element: where it raises the fit, the level, and the sums with it.
    #[inline(always)]
    fn attempt(self, isa: L::Isa, x: L, level: L, max_level: i32) -> (L::Mask, L, Self) {
        let zero = L::splat(isa, 0.0);
        let weight = x * x;
        let weighted = weight * x;
        let other_xl = self.xl - weighted * level;
        let other_l2 = self.l2 - weight * level * level;
        let moved = (x * other_l2 / other_xl).nearest_int();
        let moved = L::to_float(L::clamp(moved, -max_level, max_level - 1));
        let xl = other_xl + weighted * moved;
        let l2 = other_l2 + weight * moved * moved;
        let better = (self.xl * self.xl * l2).less(xl * xl * self.l2);
        let raises = L::and_not(better, moved.equal(level));
        let fits = L::and(zero.less(other_xl), zero.less(l2));
        (L::and(raises, fits), moved, Self { xl, l2 })
    }

    /// The lanes in which the first round would move a level, and a few others: elements are tried with the sums at the
    /// start, so that none has to wait for the one before it. `terms` are those of `xl`.
    ///
    /// A level moves to the integer nearest to `x * other_l2 / other_xl`, of the sums without its own terms. That this is
    /// another one, `|x * other_l2 - level * other_xl| > other_xl / 2`, is found without the division; its own terms
    /// cancel on the left. The bound leaves room for the rounding of either way, which is small as long as nothing is
    /// subnormal or overflows: lanes whose extreme element is not of an ordinary magnitude are left to the round.
    #[inline(always)]
    fn may_move<const N: usize>(
        self,
        isa: L::Isa,
        x: &[L; N],
        extreme: L,
        levels: &[L; N],
        terms: &[L; N],
        max_level: i32,
    ) -> L::Mask {
        let zero = L::splat(isa, 0.0);
        let top = L::splat(isa, (max_level - 1) as f32);
        let share = L::splat(isa, ALMOST_HALF);
        let bound = L::splat(isa, ALMOST_HALF - ROUNDED) * self.xl;
        let mut any = zero.less(zero);
        for i in 0..N {
            let off = x[i] * self.l2 - levels[i] * self.xl;
            let bound = bound - share * terms[i];
            let up = L::and(bound.less(off), levels[i].less(top));
            any = L::or(any, L::or(up, bound.less(off.neg())));
        }
        let magnitude = extreme.abs();
        let [small, large] = ORDINARY.map(|bound| L::splat(isa, bound));
        let ordinary = L::and(small.less(magnitude), magnitude.less(large));
        // All terms have the sign of the sum: where that is negative, a round moves nothing.
        L::or(
            L::and(any, zero.less(self.xl)),
            L::and_not(zero.equal(zero), ordinary),
        )
    }

    /// Moves each level once, where that raises the fit, to `next`; says in which lanes one was moved.
    #[inline(always)]
    fn round<const N: usize>(
        &mut self,
        isa: L::Isa,
        x: &[L; N],
        levels: &[L; N],
        max_level: i32,
        next: &mut [L; N],
    ) -> L::Mask {
        let zero = L::splat(isa, 0.0);
        let mut moved_any = zero.less(zero);
        for i in 0..N {
            let (moves, moved, moments) = self.attempt(isa, x[i], levels[i], max_level);
            self.xl = L::select(moves, moments.xl, self.xl);
            self.l2 = L::select(moves, moments.l2, self.l2);
            // Not written in place: the compiler would make masked stores of that, which some processors take ten
            // times as long for.
            next[i] = L::select(moves, moved, levels[i]);
            moved_any = L::or(moved_any, moves);
        }
        moved_any
    }
}

/// Sub-blocks that descend together, at most.
const TOGETHER: usize = 512;

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
    /// Elements and levels of the sub-blocks of a round. Lanes left over have those of an earlier one.
    rows: [[f32; N]; MOST_LANES],
    at: [[f32; N]; MOST_LANES],
}

impl<const N: usize> Together<N> {
    /// The first look at as many sub-blocks as there are lanes, or less, the first of them `first`: their levels at the
    /// start, and whether they stay open. Gives the lanes of those that are negligible.
    #[inline(always)]
    fn begin<L: Lanes>(
        &mut self,
        isa: L::Isa,
        first: usize,
        x: &[[f32; N]],
        max_level: i32,
        levels: &mut [[u8; N]],
    ) -> u32 {
        let columns = if x.len() == L::COUNT {
            L::columns(isa, x)
        } else {
            self.rows[..x.len()].copy_from_slice(x);
            L::columns(isa, &self.rows[..L::COUNT])
        };
        let extreme = extremes(isa, &columns);
        let negligible = L::bits(extreme.abs().less(L::splat(isa, NEGLIGIBLE)));
        let (mut at, mut terms) = ([L::splat(isa, 0.0); N], [L::splat(isa, 0.0); N]);
        let moments = Moments::start(isa, &columns, extreme, max_level, &mut at, &mut terms);
        let open = L::bits(moments.may_move(isa, &columns, extreme, &at, &terms, max_level)) & !negligible;
        if x.len() == L::COUNT {
            store_raised::<L, N>(isa, &at, max_level, levels);
        } else {
            let mut stored = [[0; N]; MOST_LANES];
            store_raised::<L, N>(isa, &at, max_level, &mut stored[..L::COUNT]);
            levels.copy_from_slice(&stored[..levels.len()]);
        }
        let (mut lanes_xl, mut lanes_l2) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
        moments.xl.store(&mut lanes_xl[..L::COUNT]);
        moments.l2.store(&mut lanes_l2[..L::COUNT]);
        self.sums_xl[first..][..x.len()].copy_from_slice(&lanes_xl[..x.len()]);
        self.sums_l2[first..][..x.len()].copy_from_slice(&lanes_l2[..x.len()]);
        for lane in 0..x.len() {
            self.open[self.count] = first + lane;
            self.count += usize::from(open >> lane & 1 == 1);
        }
        negligible
    }

    /// A round of the sub-blocks at these places, at most as many as there are lanes. Those in which it moves something
    /// stay open.
    #[inline(always)]
    fn round<L: Lanes>(
        &mut self,
        isa: L::Isa,
        places: std::ops::Range<usize>,
        x: &[[f32; N]],
        max_level: i32,
        levels: &mut [[u8; N]],
        still_open: &mut usize,
    ) {
        let (mut lanes_xl, mut lanes_l2) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
        for (lane, &i) in self.open[places.clone()].iter().enumerate() {
            self.rows[lane] = x[i];
            self.at[lane] = each(&levels[i], |level| f32::from(level) - max_level as f32);
            lanes_xl[lane] = self.sums_xl[i];
            lanes_l2[lane] = self.sums_l2[i];
        }
        let columns = L::columns(isa, &self.rows[..L::COUNT]);
        let at = L::columns(isa, &self.at[..L::COUNT]);
        let mut next = [L::splat(isa, 0.0); N];
        let mut moments = Moments {
            xl: L::load(isa, &lanes_xl[..L::COUNT]),
            l2: L::load(isa, &lanes_l2[..L::COUNT]),
        };
        let moved = L::bits(moments.round(isa, &columns, &at, max_level, &mut next));
        let mut stored = [[0; N]; MOST_LANES];
        store_raised::<L, N>(isa, &next, max_level, &mut stored[..L::COUNT]);
        moments.xl.store(&mut lanes_xl[..L::COUNT]);
        moments.l2.store(&mut lanes_l2[..L::COUNT]);
        for (lane, place) in places.enumerate() {
            let i = self.open[place];
            levels[i] = stored[lane];
            self.sums_xl[i] = lanes_xl[lane];
            self.sums_l2[i] = lanes_l2[lane];
            self.open[*still_open] = i;
            *still_open += usize::from(moved >> lane & 1 == 1);
        }
    }
}

/// Writes the levels of lane `j`, raised to be non-negative, to `levels[j]`.
#[inline(always)]
fn store_raised<L: Lanes, const N: usize>(
    isa: L::Isa,
    signed: &[L; N],
    max_level: i32,
    levels: &mut [[u8; N]],
) {
    let raise = L::splat(isa, max_level as f32);
    let mut raised = [L::splat_int(isa, 0); N];
    for (raised, &level) in raised.iter_mut().zip(signed) {
        *raised = (level + raise).nearest_int();
    }
    store_levels::<L, N>(levels, &raised);
}

/// Coordinate descent, sub-blocks in lanes. In most of them the first round moves nothing, which is found without going
/// from element to element. The others, two in ten, are gathered for the rounds; those in which one moves nothing are
/// done, for another finds the same.
#[inline(always)]
fn descend_together<L: Lanes, const N: usize>(
    isa: L::Isa,
    x: &[[f32; N]],
    max_level: i32,
    levels: &mut [[u8; N]],
    scales: &mut [f32],
) {
    let mut negligible = [0; TOGETHER / 8];
    let mut together = Together::<N> {
        open: [0; TOGETHER],
        count: 0,
        sums_xl: [0.0; TOGETHER],
        sums_l2: [0.0; TOGETHER],
        rows: [[0.0; N]; MOST_LANES],
        at: [[0.0; N]; MOST_LANES],
    };
    let tiles = x.chunks(L::COUNT).zip(levels.chunks_mut(L::COUNT));
    for ((tile, (x, levels)), negligible) in tiles.enumerate().zip(&mut negligible) {
        *negligible = together.begin::<L>(isa, tile * L::COUNT, x, max_level, levels);
    }
    for _ in 0..5 {
        let (mut first, mut still_open) = (0, 0);
        while first < together.count {
            // The rounds of two registers fill each other's waits.
            let left = together.count - first;
            if left > L::COUNT {
                let places = first..first + left.min(2 * L::COUNT);
                together.round::<Pair<L>>(isa, places, x, max_level, levels, &mut still_open);
            } else {
                together.round::<L>(isa, first..first + left, x, max_level, levels, &mut still_open);
            }
            first += 2 * L::COUNT;
        }
        together.count = still_open;
    }
    let sums = together.sums_xl.iter().zip(&together.sums_l2);
    for (scale, (xl, l2)) in scales.iter_mut().zip(sums) {
        let quotient = xl / l2;
        *scale = if *l2 > 0.0 { quotient } else { 0.0 };
    }
    let tiles = scales.chunks_mut(L::COUNT).zip(levels.chunks_mut(L::COUNT));
    for ((scales, levels), negligible) in tiles.zip(negligible).filter(|(_, negligible)| *negligible != 0) {
        for (lane, (scale, levels)) in scales.iter_mut().zip(levels).enumerate() {
            if negligible >> lane & 1 == 1 {
                *scale = 0.0;
                *levels = [0; N];
            }
        }
    }
}
