//! The search for a block's scale in IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S.

use super::grid::{Grid, Place, error_terms, levels};
use crate::isa::BlockOps;
use crate::levels::code_bits;
use crate::round::nearest_int;

/// The groups that are placed again with the best scale, when it is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refit {
    /// All of them.
    Always,
    /// All of them if at least one was off the grid, or if no scale tried was any good.
    AllIfAnyOff,
    /// Those that were off the grid.
    OnlyOff,
}

/// A format's parameters of the search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Scales tried on either side of the one that maps the largest weight to the largest value.
    pub(crate) tries: i8,
    /// The difference between the largest values of two tries.
    pub(crate) step: f32,
    /// The groups placed again at the end.
    pub(crate) refit: Refit,
}

/// The outcome for a block of `G` groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit<const G: usize> {
    /// Never negative, never NaN.
    pub(crate) scale: f32,
    /// The index of each group's point.
    pub(crate) points: [u16; G],
    /// Whether the scale came out negative, so that all signs have to be inverted.
    pub(crate) inverted: bool,
}

/// Finds a scale and the points of a block's groups that minimize Σ weight·(x − scale·value)².
///
/// `x` are magnitudes, `largest` is the weight of the largest value in the middle of the search, and
/// `scale` is the outcome if none of the scales tried is better than a block of zeros. A NaN scale, on which
/// ggml aborts, becomes 0. `T` lanes hold all tries.
#[inline(always)]
pub(crate) fn fit<I: BlockOps, const D: usize, const G: usize, const T: usize>(
    isa: I,
    grid: &Grid<D>,
    search: Search,
    x: &[[f32; D]; G],
    weights: &[[f32; D]; G],
    largest: f32,
    mut scale: f32,
) -> Fit<G> {
    let top = (2 * levels(D) - 1) as f32;
    let roots = weights.map(|group| group.map(f32::sqrt));
    let tries = 2 * search.tries as usize + 1;
    let inverses: [f32; T] = std::array::from_fn(|lane| {
        let offset = lane.min(tries - 1) as i8 - search.tries;
        (top + f32::from(offset) * search.step) / largest
    });
    let scales = inverses.map(|inverse| 1.0 / inverse);
    let mut tried = [[0; T]; G];
    let mut tried_off = [0u32; G];
    for group in 0..G {
        tried[group] = round(&x[group], &inverses);
        let placing = Placing {
            x: &x[group],
            roots: &roots[group],
            scales: &scales,
            margin: margin(&x[group], &roots[group], scales[0] * top),
        };
        let mut start = 0;
        while start < tries {
            let code = tried[group][start];
            let same = tried[group][start..tries]
                .iter()
                .take_while(|other| **other == code);
            let end = start + same.count();
            if let Place::Off(candidates) = grid.locate(code as u16) {
                placing.place_run(isa, candidates, start, &mut tried[group][start..end]);
                tried_off[group] |= (1 << end) - (1 << start);
            }
            start = end;
        }
    }
    let (sums_qx, sums_q2) = moments(&tried, x, weights);
    let mut best = 0.0;
    let mut codes = [0; G];
    let mut off_grid = [search.refit != Refit::OnlyOff; G];
    for lane in 0..tries {
        let (sum_qx, sum_q2) = (sums_qx[lane], sums_q2[lane]);
        if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
            scale = sum_qx / sum_q2;
            best = scale * sum_qx;
            codes = tried.map(|codes| codes[lane]);
            off_grid = tried_off.map(|lanes| lanes >> lane & 1 == 1);
        }
    }
    let again = search.refit == Refit::Always || off_grid.contains(&true);
    if again && scale > 0.0 {
        for group in 0..G {
            if search.refit == Refit::OnlyOff && !off_grid[group] {
                continue;
            }
            let [code] = round(&x[group], &[1.0 / scale]);
            codes[group] = match grid.locate(code as u16) {
                Place::On => code,
                Place::Off(candidates) => {
                    let terms = error_terms(&odd(D), &x[group], &roots[group], scale);
                    u32::from(isa.nearest_point(candidates, &terms))
                }
            };
        }
        let ([sum_qx], [sum_q2]) = moments(&codes.map(|code| [code]), x, weights);
        if sum_q2 > 0.0 {
            scale = sum_qx / sum_q2;
        }
    }
    if scale.is_nan() {
        scale = 0.0;
    }
    Fit {
        scale: if scale < 0.0 { -scale } else { scale },
        points: codes.map(|code| grid.index(code as u16)),
        inverted: scale < 0.0,
    }
}

/// The difference of two sums of errors that rounding cannot have made: errors are
/// differences of numbers up to `reach` and the largest weight, and the eight or so roundings of a sum are below
/// 70 · 2^-24 of their squares (see [`Placing::place_run`] for where the rest goes).
#[inline(always)]
fn margin<const D: usize>(x: &[f32; D], roots: &[f32; D], reach: f32) -> f32 {
    let reach = x.iter().fold(reach, |reach, x| reach.max(x.abs()));
    let sum: f32 = roots.iter().sum();
    4e-5 * sum * (reach * reach)
}

/// Chunks of candidates that are gone through sooner than it is found out that this can be spared.
const FEW_CANDIDATES: usize = 2;

/// A group whose rounded codes are to be replaced by points.
struct Placing<'a, const D: usize, const T: usize> {
    x: &'a [f32; D],
    roots: &'a [f32; D],
    scales: &'a [f32; T],
    margin: f32,
}

impl<const D: usize, const T: usize> Placing<'_, D, T> {
    /// The error terms at the scale of a try.
    #[inline(always)]
    fn terms(&self, lane: usize) -> [[f32; 8]; D] {
        error_terms(&odd(D), self.x, self.roots, self.scales[lane])
    }

    /// Finds the nearest point for a run of tries, from `start` on, that have the same candidates.
    ///
    /// Σ weight·(scale·value − x)² of one candidate less that of another is scale·(a·scale − b) with the same a and
    /// b for all scales. Where it is positive at two scales, the term in brackets is, and so is it at all scales
    /// between them: at least by the smaller margin times the quotient of the scales, which is above 0.6. So a
    /// point that is nearest at both ends of a run by more than rounding can undo is nearest at all of its scales,
    /// as trying each would show.
    #[inline(always)]
    fn place_run(&self, isa: impl BlockOps, candidates: &[[u16; 8]], start: usize, codes: &mut [u32]) {
        let (mut from, mut to) = (0, codes.len());
        if to > 2 && candidates.len() > FEW_CANDIDATES {
            let ends = [&self.terms(start), &self.terms(start + to - 1)];
            let [(first, first_clear), (last, last_clear)] =
                isa.clearly_nearest_points(candidates, ends, self.margin);
            if first == last && first_clear && last_clear {
                codes.fill(u32::from(first));
                return;
            }
            codes[0] = u32::from(first);
            codes[to - 1] = u32::from(last);
            (from, to) = (1, to - 1);
        }
        let (pairs, rest) = codes[from..to].as_chunks_mut::<2>();
        for (pair, codes) in pairs.iter_mut().enumerate() {
            let lane = start + from + 2 * pair;
            let terms = [&self.terms(lane), &self.terms(lane + 1)];
            *codes = isa.nearest_points(candidates, terms).map(u32::from);
        }
        if let [code] = rest {
            *code = u32::from(isa.nearest_point(candidates, &self.terms(start + to - 1)));
        }
    }
}

/// The values of the levels during the search, odd numbers, so that a scale is half a step; in eight columns
/// that repeat.
#[inline(always)]
fn odd(dimensions: usize) -> [f32; 8] {
    let mask = (1 << code_bits(dimensions)) - 1;
    std::array::from_fn(|level| (2 * (level & mask) + 1) as f32)
}

/// The codes of a group rounded at each inverse scale.
#[inline(always)]
fn round<const D: usize, const T: usize>(x: &[f32; D], inverses: &[f32; T]) -> [u32; T] {
    let highest = levels(D) as i32 - 1;
    let mut codes = [0; T];
    for (axis, x) in x.iter().enumerate() {
        for lane in 0..T {
            let level = nearest_int(0.5 * (inverses[lane] * x - 1.0)).clamp(0, highest);
            codes[lane] |= (level as u32) << (code_bits(D) * axis);
        }
    }
    codes
}

/// Σ weight·x·value and Σ weight·value² over a block, for each lane's codes.
#[inline(always)]
fn moments<const D: usize, const G: usize, const T: usize>(
    codes: &[[u32; T]; G],
    x: &[[f32; D]; G],
    weights: &[[f32; D]; G],
) -> ([f32; T], [f32; T]) {
    let mask = (1 << code_bits(D)) - 1;
    let (mut sums_qx, mut sums_q2) = ([0.0; T], [0.0; T]);
    for group in 0..G {
        for axis in 0..D {
            let weight = weights[group][axis];
            let weighted = weight * x[group][axis];
            for lane in 0..T {
                let level = codes[group][lane] >> (code_bits(D) * axis) & mask;
                let value = (2 * level + 1) as i32 as f32;
                sums_qx[lane] += weighted * value;
                sums_q2[lane] += weight * value * value;
            }
        }
    }
    (sums_qx, sums_q2)
}

/// The largest value.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    x.iter().fold(x[0], |max, &x| if max > x { max } else { x })
}

/// Quantizes the scales of a super-block's blocks to odd multiples (2·code + 1) of the super-block's scale
/// `d`, codes being at most `highest`.
#[inline(always)]
pub(crate) fn quantize_scales<const S: usize>(scales: &[f32; S], d: f32, highest: u8) -> [u8; S] {
    let inverse = 1.0 / d;
    scales.map(|scale| nearest_int(0.5 * (inverse * scale - 1.0)).clamp(0, i32::from(highest)) as u8)
}
