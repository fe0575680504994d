//! Operations on the elements of a block.

use crate::f16;
use crate::levels::{self, code_level, each};
use crate::reduce;
use crate::round::{nearest_away_level, truncate_level};

/// Operations that an instruction set may have in fewer steps. The bodies here are their specification, for all
/// elements where nothing else is said.
pub(crate) trait BlockOps: Copy {
    /// The largest magnitude of finite elements; `None` if one is not finite.
    #[inline(always)]
    fn finite_magnitude<const N: usize>(self, x: &[f32; N]) -> Option<f32> {
        reduce::finite_magnitude(x)
    }

    /// [`reduce::signed_extreme`].
    #[inline(always)]
    fn signed_extreme<const N: usize>(self, x: &[f32; N]) -> f32 {
        reduce::signed_extreme_of(x)
    }

    /// The smallest and the largest of finite elements.
    #[inline(always)]
    fn range(self, x: &[f32; 32]) -> (f32, f32) {
        reduce::range(x)
    }

    /// `(x - shift) * factor + offset` rounded toward zero, its lowest byte. For finite elements.
    #[inline(always)]
    fn truncated_levels(self, x: &[f32; 32], shift: f32, factor: f32, offset: f32) -> [u8; 32] {
        each(x, |x| truncate_level((x - shift) * factor + offset) as u8)
    }

    /// `x * factor` rounded to the nearest integer, halves away from zero, its lowest byte. For finite elements.
    #[inline(always)]
    fn nearest_away_levels<const N: usize>(self, x: &[f32; N], factor: f32) -> [i8; N] {
        each(x, |x| nearest_away_level(x * factor) as i8)
    }

    /// The number of limits below each magnitude, plus 8 for negative elements above at least one. For finite
    /// elements.
    #[inline(always)]
    fn signed_steps<const N: usize>(self, x: &[f32; N], limits: &[f32; 7]) -> [u8; N] {
        each(x, |x| {
            let magnitude = x.abs();
            let level: u8 = limits.iter().map(|limit| u8::from(magnitude > *limit)).sum();
            level | if x < 0.0 && level > 0 { 8 } else { 0 }
        })
    }

    /// A bit for each element, the first in the lowest: whether it is zero or positive.
    #[inline(always)]
    fn not_negative(self, x: &[f32; 8]) -> u8 {
        (0..8).map(|i| u8::from(x[i] >= 0.0) << i).sum()
    }

    /// The sum of the magnitudes of each row, in order each: side by side, because an addition waits for the one
    /// before it.
    #[inline(always)]
    fn sums_of_magnitudes<const N: usize>(self, rows: &[[f32; N]; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        for i in 0..N {
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum += row[i].abs();
            }
        }
        sums
    }

    /// The place of each key in ascending order, equal ones in theirs. Keys are below [`i32::MAX`].
    #[inline(always)]
    fn ranks<const N: usize>(self, keys: &[i32; N]) -> [i32; N] {
        let mut ranks = [0; N];
        for (&other, later) in keys.iter().zip(later::<N>()) {
            for i in 0..N {
                ranks[i] += i32::from(other < keys[i] + later[i]);
            }
        }
        ranks
    }

    /// [`levels::pack_five_bits`].
    #[inline(always)]
    fn pack_five_bits(self, levels: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
        levels::pack_five_bits(levels)
    }

    /// [`f16::from_f32`] of at most four values.
    #[inline(always)]
    fn halves<const N: usize>(self, values: [f32; N]) -> [u16; N] {
        values.map(f16::from_f32)
    }

    /// The codebook point among `candidates` with the smallest sum of error terms, the first of equals. `terms`
    /// has a row for each coordinate and a column for each level.
    ///
    /// Where no sum is below the largest finite number (infinite or NaN input, on which ggml aborts), it is the first
    /// candidate.
    #[inline(always)]
    fn nearest_point<const D: usize>(self, candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16 {
        let mut best = f32::MAX;
        let mut nearest = candidates[0][0];
        for &candidate in candidates.as_flattened() {
            let sum = (0..D).fold(0.0, |sum, axis| {
                sum + terms[axis][code_level::<D>(candidate, axis)]
            });
            if sum < best {
                best = sum;
                nearest = candidate;
            }
        }
        nearest
    }

    /// [`Self::nearest_point`], and whether the sum of every other candidate is larger by more than `margin`; false
    /// where the instruction set does not find out.
    #[inline(always)]
    fn clearly_nearest_point<const D: usize>(
        self,
        candidates: &[[u16; 8]],
        terms: &[[f32; 8]; D],
        _margin: f32,
    ) -> (u16, bool) {
        (self.nearest_point(candidates, terms), false)
    }

    /// [`Self::nearest_point`] for each of two tables of terms.
    #[inline(always)]
    fn nearest_points<const D: usize>(self, candidates: &[[u16; 8]], terms: [&[[f32; 8]; D]; 2]) -> [u16; 2] {
        terms.map(|terms| self.nearest_point(candidates, terms))
    }

    /// [`Self::clearly_nearest_point`] for each of two tables of terms.
    #[inline(always)]
    fn clearly_nearest_points<const D: usize>(
        self,
        candidates: &[[u16; 8]],
        terms: [&[[f32; 8]; D]; 2],
        margin: f32,
    ) -> [(u16, bool); 2] {
        terms.map(|terms| self.clearly_nearest_point(candidates, terms, margin))
    }

    /// Prefetches these candidates, where the instruction set can.
    #[inline(always)]
    fn prefetch(self, _candidates: &[u16; 8]) {}
}

/// Row `j` is one for those behind `j`. Of equal keys the earlier comes before: it is compared with the next higher one
/// of a later key.
#[inline(always)]
pub(crate) fn later<const N: usize>() -> &'static [[i32; N]; N] {
    const {
        let mut later = [[0; N]; N];
        let mut j = 0;
        while j < N {
            let mut i = j + 1;
            while i < N {
                later[j][i] = 1;
                i += 1;
            }
            j += 1;
        }
        &{ later }
    }
}
