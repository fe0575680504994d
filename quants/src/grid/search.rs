//! The search for a block's scale that IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S share.

use super::{Grid, Place, levels};
use crate::round::nearest_int;

/// The values of the levels during the search: odd numbers, so that a scale is half a step.
const ODD: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];

/// Which groups are placed again with the best scale, when it is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refit {
    /// All of them.
    Always,
    /// All of them if at least one was off the grid, or if no scale tried was any good.
    AllIfAnyOff,
    /// Those that were off the grid.
    OnlyOff,
}

/// How a format varies the search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Scales tried on either side of the one that maps the largest weight to the largest value.
    pub(crate) tries: i8,
    /// The difference between the largest values of two tries.
    pub(crate) step: f32,
    /// What is placed again at the end.
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
/// `x` are magnitudes, `largest` is what the largest value stands for in the middle of the search, and
/// `scale` is the outcome if none of the scales tried is better than a block of zeros. A NaN scale, on which
/// ggml aborts, becomes 0.
#[inline]
pub(crate) fn fit<const D: usize, const G: usize>(
    grid: &Grid<D>,
    search: Search,
    x: &[[f32; D]; G],
    weights: &[[f32; D]; G],
    largest: f32,
    mut scale: f32,
) -> Fit<G> {
    let top = (2 * levels(D) - 1) as f32;
    let roots = weights.map(|group| group.map(f32::sqrt));
    let mut points = [0; G];
    let mut on_grid = [search.refit == Refit::OnlyOff; G];
    let mut best = 0.0;
    for offset in -search.tries..=search.tries {
        let inverse = (top + f32::from(offset) * search.step) / largest;
        let this_scale = 1.0 / inverse;
        let mut tried = [0; G];
        let mut tried_on_grid = [true; G];
        for group in 0..G {
            (tried[group], tried_on_grid[group]) = place(grid, &x[group], &roots[group], inverse, this_scale);
        }
        let (sum_qx, sum_q2) = moments(grid, &tried, x, weights);
        if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
            scale = sum_qx / sum_q2;
            best = scale * sum_qx;
            points = tried;
            on_grid = tried_on_grid;
        }
    }
    let again = search.refit == Refit::Always || on_grid.contains(&false);
    if again && scale > 0.0 {
        let inverse = 1.0 / scale;
        for group in 0..G {
            if search.refit != Refit::OnlyOff || !on_grid[group] {
                (points[group], _) = place(grid, &x[group], &roots[group], inverse, scale);
            }
        }
        let (sum_qx, sum_q2) = moments(grid, &points, x, weights);
        if sum_q2 > 0.0 {
            scale = sum_qx / sum_q2;
        }
    }
    if scale.is_nan() {
        scale = 0.0;
    }
    Fit {
        scale: if scale < 0.0 { -scale } else { scale },
        points,
        inverted: scale < 0.0,
    }
}

/// The point that stands for a group at this scale, and whether the group's rounded levels are that point.
#[inline]
fn place<const D: usize>(
    grid: &Grid<D>,
    x: &[f32; D],
    roots: &[f32; D],
    inverse: f32,
    scale: f32,
) -> (u16, bool) {
    let highest = levels(D) as i32 - 1;
    let group = x.map(|x| nearest_int(0.5 * (inverse * x - 1.0)).clamp(0, highest) as u8);
    match grid.locate(&group) {
        Place::On(index) => (index, true),
        Place::Off(candidates) => (grid.nearest(candidates, &ODD, x, roots, scale), false),
    }
}

/// Σ weight·x·value and Σ weight·value² over a block.
#[inline]
fn moments<const D: usize, const G: usize>(
    grid: &Grid<D>,
    points: &[u16; G],
    x: &[[f32; D]; G],
    weights: &[[f32; D]; G],
) -> (f32, f32) {
    let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
    for group in 0..G {
        let point = grid.point(points[group]);
        for axis in 0..D {
            let value = ODD[usize::from(point[axis])];
            let weight = weights[group][axis];
            sum_qx += weight * x[group][axis] * value;
            sum_q2 += weight * value * value;
        }
    }
    (sum_qx, sum_q2)
}

/// The largest value.
#[inline]
pub(crate) fn largest(x: &[f32]) -> f32 {
    x.iter().fold(x[0], |max, &x| if max > x { max } else { x })
}

/// Quantizes the scales of a super-block's blocks to odd multiples (2·code + 1) of the super-block's scale
/// `d`, codes being at most `highest`.
#[inline]
pub(crate) fn quantize_scales<const S: usize>(scales: &[f32; S], d: f32, highest: u8) -> [u8; S] {
    let inverse = 1.0 / d;
    scales.map(|scale| nearest_int(0.5 * (inverse * scale - 1.0)).clamp(0, i32::from(highest)) as u8)
}
