//! The inner loops of the encoders that an instruction set may replace.
//!
//! A format's `encode_row_with` takes a [`Kernel`]; [`Scalar`] is the specification of all others.

use crate::f16;
use crate::formats::iq1::{Split, Sums};
use crate::levels::{self, each};
use crate::round::{nearest_away_level, truncate_level};
use crate::search::codebook::level;
use crate::search::{self, AffineFit, Candidates};

/// The search for the nearest point of a codebook.
pub(crate) trait Nearest {
    /// The candidate with the smallest sum of [`crate::search::codebook::error_terms`], the first of equals.
    ///
    /// Where no sum is below the largest finite number (infinite or NaN input, on which ggml aborts), it is
    /// the first candidate.
    fn nearest<const D: usize>(candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16;

    /// [`Nearest::nearest`], and whether the sum of every other candidate is larger by more than `margin`. An
    /// instruction set without a way to tell says no.
    #[inline(always)]
    fn clearly_nearest<const D: usize>(
        candidates: &[[u16; 8]],
        terms: &[[f32; 8]; D],
        _margin: f32,
    ) -> (u16, bool) {
        (Self::nearest(candidates, terms), false)
    }

    /// Has these candidates fetched into the cache, where the instruction set can.
    #[inline(always)]
    fn prefetch(_candidates: &[u16; 8]) {}
}

/// What the encoders that pass over a block once take from an instruction set. What is written here is what every
/// instruction set gives for finite elements; for others only [`Scalar`] is asked.
pub(crate) trait Pass {
    /// [`search::finite_magnitude`].
    #[inline(always)]
    fn finite_magnitude<const N: usize>(x: &[f32; N]) -> Option<f32> {
        search::finite_magnitude(x)
    }

    /// [`search::signed_extreme_of`].
    #[inline(always)]
    fn signed_extreme<const N: usize>(x: &[f32; N]) -> f32 {
        search::signed_extreme_of(x)
    }

    /// [`search::range`].
    #[inline(always)]
    fn range(x: &[f32; 32]) -> (f32, f32) {
        search::range(x)
    }

    /// `(x - shift) * factor + offset` toward zero, the lowest byte of it.
    #[inline(always)]
    fn truncated_levels(x: &[f32; 32], shift: f32, factor: f32, offset: f32) -> [u8; 32] {
        each(x, |x| truncate_level((x - shift) * factor + offset) as u8)
    }

    /// `x * factor` to the nearest integer, halves away from zero, the lowest byte of it.
    #[inline(always)]
    fn nearest_away_levels<const N: usize>(x: &[f32; N], factor: f32) -> [i8; N] {
        each(x, |x| nearest_away_level(x * factor) as i8)
    }

    /// How many of the limits each magnitude is above, plus 8 for what is negative and above one.
    #[inline(always)]
    fn signed_steps<const N: usize>(x: &[f32; N], limits: &[f32; 7]) -> [u8; N] {
        each(x, |x| {
            let magnitude = x.abs();
            let level: u8 = limits.iter().map(|limit| u8::from(magnitude > *limit)).sum();
            level | if x < 0.0 && level > 0 { 8 } else { 0 }
        })
    }

    /// A bit for each element, the first in the lowest: whether it is not negative.
    #[inline(always)]
    fn not_negative(x: &[f32; 8]) -> u8 {
        (0..8).map(|i| u8::from(x[i] >= 0.0) << i).sum()
    }

    /// [`levels::pack_five_bits`].
    #[inline(always)]
    fn pack_five_bits(levels: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
        levels::pack_five_bits(levels)
    }

    /// [`f16::from_f32`] of at most four.
    #[inline(always)]
    fn halves<const N: usize>(values: [f32; N]) -> [u16; N] {
        values.map(f16::from_f32)
    }
}

/// Passes the methods of [`Pass`] on to another type.
macro_rules! pass_on {
    ($to:ty) => {
        #[inline(always)]
        fn finite_magnitude<const N: usize>(x: &[f32; N]) -> Option<f32> {
            <$to>::finite_magnitude(x)
        }
        #[inline(always)]
        fn signed_extreme<const N: usize>(x: &[f32; N]) -> f32 {
            <$to>::signed_extreme(x)
        }
        #[inline(always)]
        fn range(x: &[f32; 32]) -> (f32, f32) {
            <$to>::range(x)
        }
        #[inline(always)]
        fn truncated_levels(x: &[f32; 32], shift: f32, factor: f32, offset: f32) -> [u8; 32] {
            <$to>::truncated_levels(x, shift, factor, offset)
        }
        #[inline(always)]
        fn nearest_away_levels<const N: usize>(x: &[f32; N], factor: f32) -> [i8; N] {
            <$to>::nearest_away_levels(x, factor)
        }
        #[inline(always)]
        fn signed_steps<const N: usize>(x: &[f32; N], limits: &[f32; 7]) -> [u8; N] {
            <$to>::signed_steps(x, limits)
        }
        #[inline(always)]
        fn not_negative(x: &[f32; 8]) -> u8 {
            <$to>::not_negative(x)
        }
        #[inline(always)]
        fn pack_five_bits(levels: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
            <$to>::pack_five_bits(levels)
        }
        #[inline(always)]
        fn halves<const N: usize>(values: [f32; N]) -> [u16; N] {
            <$to>::halves(values)
        }
    };
}
pub(crate) use pass_on;

/// How many sub-blocks or blocks the encoders give a kernel at once: enough to fill the lanes twice.
pub(crate) const TILE: usize = 16;

/// The inner loops.
pub(crate) trait Kernel: Nearest + Pass {
    /// [`search::fit_affine`] for each sub-block.
    fn fit_affine<const N: usize>(
        x: &[[f32; N]],
        weights: &[[f32; N]],
        max_level: i32,
        candidates: Candidates,
        levels: &mut [[u8; N]],
        fits: &mut [AffineFit],
    );

    /// [`search::fit_symmetric`] for each sub-block.
    fn fit_symmetric<const N: usize>(
        x: &[[f32; N]],
        max_level: i32,
        weights: &[[f32; N]],
        levels: &mut [[u8; N]],
        scales: &mut [f32],
    );

    /// [`search::descend_symmetric`] for each sub-block.
    fn descend_symmetric<const N: usize>(
        x: &[[f32; N]],
        max_level: i32,
        levels: &mut [[u8; N]],
        scales: &mut [f32],
    );

    /// [`search::fit_positive`] for each sub-block.
    fn fit_positive<const N: usize>(
        x: &[[f32; N]],
        max_level: i32,
        weights: &[[f32; N]],
        levels: &mut [[u8; N]],
        scales: &mut [f32],
    );

    /// [`crate::formats::iq4_nl::fit_scale`] for each block.
    fn fit_nonlinear(x: &[[f32; 32]], weights: &[[f32; 32]], scales: &mut [f32]);

    /// [`crate::formats::iq1::best_split`].
    fn best_split(sums_x: &Sums<32>, sums_w: &Sums<32>) -> Option<Split<1>>;

    /// [`crate::formats::iq1::best_split_of_halves`].
    fn best_split_of_halves(sums_x: &[Sums<16>; 2], sums_w: &[Sums<16>; 2]) -> Option<Split<2>>;
}

/// One sub-block, one candidate after another.
pub(crate) struct Scalar;

impl Nearest for Scalar {
    #[inline(always)]
    fn nearest<const D: usize>(candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16 {
        let mut best = f32::MAX;
        let mut nearest = candidates[0][0];
        for &candidate in candidates.as_flattened() {
            let sum = (0..D).fold(0.0, |sum, axis| sum + terms[axis][level::<D>(candidate, axis)]);
            if sum < best {
                best = sum;
                nearest = candidate;
            }
        }
        nearest
    }
}

impl Pass for Scalar {}

// The searches are not inlined here: the encoders of other instruction sets come back to the same compiled code
// where the outcome is not a number.
impl Kernel for Scalar {
    #[inline(never)]
    fn fit_affine<const N: usize>(
        x: &[[f32; N]],
        weights: &[[f32; N]],
        max_level: i32,
        candidates: Candidates,
        levels: &mut [[u8; N]],
        fits: &mut [AffineFit],
    ) {
        for (j, fit) in fits.iter_mut().enumerate() {
            *fit = search::fit_affine(&x[j], &weights[j], max_level, candidates, &mut levels[j]);
        }
    }

    #[inline(never)]
    fn fit_symmetric<const N: usize>(
        x: &[[f32; N]],
        max_level: i32,
        weights: &[[f32; N]],
        levels: &mut [[u8; N]],
        scales: &mut [f32],
    ) {
        for (j, scale) in scales.iter_mut().enumerate() {
            *scale = search::fit_symmetric(&x[j], max_level, &weights[j], &mut levels[j]);
        }
    }

    #[inline(never)]
    fn descend_symmetric<const N: usize>(
        x: &[[f32; N]],
        max_level: i32,
        levels: &mut [[u8; N]],
        scales: &mut [f32],
    ) {
        for (j, scale) in scales.iter_mut().enumerate() {
            *scale = search::descend_symmetric(&x[j], max_level, &mut levels[j]);
        }
    }

    #[inline(never)]
    fn fit_positive<const N: usize>(
        x: &[[f32; N]],
        max_level: i32,
        weights: &[[f32; N]],
        levels: &mut [[u8; N]],
        scales: &mut [f32],
    ) {
        for (j, scale) in scales.iter_mut().enumerate() {
            *scale = search::fit_positive(&x[j], max_level, &weights[j], &mut levels[j]);
        }
    }

    #[inline(never)]
    fn fit_nonlinear(x: &[[f32; 32]], weights: &[[f32; 32]], scales: &mut [f32]) {
        for (j, scale) in scales.iter_mut().enumerate() {
            *scale = crate::formats::iq4_nl::fit_scale(&x[j], &weights[j]);
        }
    }

    #[inline(never)]
    fn best_split(sums_x: &Sums<32>, sums_w: &Sums<32>) -> Option<Split<1>> {
        crate::formats::iq1::best_split(sums_x, sums_w)
    }

    #[inline(never)]
    fn best_split_of_halves(sums_x: &[Sums<16>; 2], sums_w: &[Sums<16>; 2]) -> Option<Split<2>> {
        crate::formats::iq1::best_split_of_halves(sums_x, sums_w)
    }
}
