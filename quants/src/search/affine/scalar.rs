//! The specification: a scale and a minimum of one sub-block.

use crate::levels::each;
use crate::reduce::sum;
use crate::round::nearest_int;

/// The inverse scales to try: those that spread `max_level + first + step * i` levels over the
/// range of the elements, for `i` from zero to `last`.
#[derive(Clone, Copy)]
pub(crate) struct Candidates {
    pub(crate) first: f32,
    pub(crate) step: f32,
    pub(crate) last: u8,
    pub(crate) measure: ErrorMeasure,
}

/// The candidates of every format that is encoded with importance.
pub(crate) const IMPORTANCE_CANDIDATES: Candidates = Candidates {
    first: -0.9,
    step: 0.05,
    last: 36,
    measure: ErrorMeasure::Squared,
};

/// The measure of an element's error, before it is weighted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorMeasure {
    Squared,
    Absolute,
}

/// A scale and a minimum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AffineFit {
    pub(crate) scale: f32,
    /// The offset to subtract; never negative, unless elements are not finite.
    pub(crate) min: f32,
}

/// The levels of `x` for an inverse scale, in `0..=max_level`.
#[inline(always)]
fn levels_of<const N: usize>(x: &[f32; N], inverse: f32, min: f32, max_level: i32) -> [i32; N] {
    std::array::from_fn(|i| nearest_int(inverse * (x[i] - min)).clamp(0, max_level))
}

/// The weighted error of `scale * level + min`.
#[inline(always)]
fn error<const N: usize>(
    x: &[f32; N],
    weights: &[f32; N],
    levels: &[i32; N],
    (scale, min): (f32, f32),
    measure: ErrorMeasure,
) -> f32 {
    let errors: [f32; N] = std::array::from_fn(|i| {
        let difference = scale * levels[i] as f32 + min - x[i];
        weights[i]
            * match measure {
                ErrorMeasure::Squared => difference * difference,
                ErrorMeasure::Absolute => difference.abs(),
            }
    });
    sum(&errors)
}

/// Tries each candidate's levels with the scale and minimum of least weighted squares for them, and
/// keeps the best (ggml's `make_qkx2_quants` and `make_qkx3_quants`, which differ in nothing else
/// than where their weights come from).
///
/// Elements above zero only get the minimum zero. Writes the levels of the best candidate.
#[inline(always)]
pub(crate) fn fit<const N: usize>(
    x: &[f32; N],
    weights: &[f32; N],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [u8; N],
) -> AffineFit {
    let mut min = x[0];
    let mut max = x[0];
    let mut sum_w = weights[0];
    let mut sum_x = sum_w * x[0];
    for i in 1..N {
        if x[i] < min {
            min = x[i];
        }
        if x[i] > max {
            max = x[i];
        }
        sum_w += weights[i];
        sum_x += weights[i] * x[i];
    }
    if min > 0.0 {
        min = 0.0;
    }
    if max == min {
        *levels = [0; N];
        return AffineFit {
            scale: 0.0,
            min: -min,
        };
    }
    let inverse = max_level as f32 / (max - min);
    let mut scale = 1.0 / inverse;
    let mut chosen = levels_of(x, inverse, min, max_level);
    let mut best = error(x, weights, &chosen, (scale, min), candidates.measure);
    for i in 0..=candidates.last {
        // The best minimum so far, not the smallest element, is where the levels start from.
        let inverse = (candidates.first + candidates.step * f32::from(i) + max_level as f32) / (max - min);
        let candidate = levels_of(x, inverse, min, max_level);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0);
        for i in 0..N {
            let level = candidate[i] as f32;
            let weighted = weights[i] * level;
            sum_l += weighted;
            sum_l2 += weighted * level;
            sum_xl += weighted * x[i];
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut this_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if this_min > 0.0 {
                this_min = 0.0;
                this_scale = sum_xl / sum_l2;
            }
            let this_error = error(x, weights, &candidate, (this_scale, this_min), candidates.measure);
            if this_error < best {
                chosen = candidate;
                best = this_error;
                scale = this_scale;
                min = this_min;
            }
        }
    }
    *levels = chosen.map(|level| level as u8);
    AffineFit { scale, min: -min }
}

/// The levels of a sub-block for its stored scale and minimum. Those of the search stay where the stored scale is
/// zero.
#[inline(always)]
pub(crate) fn refine<const N: usize>(
    x: &[f32; N],
    (scale, min): (f32, f32),
    max_level: i32,
    levels: &mut [u8; N],
) {
    if scale != 0.0 {
        *levels = each(x, |x| nearest_int((x + min) / scale).clamp(0, max_level) as u8);
    }
}
