//! Operations on the elements of a block: AVX2's, but for those that do two searches at once.

use crate::isa::ops::BlockOps;
use crate::isa::x86_64::avx512::nearest;
use crate::isa::x86_64::detect::Avx512;

impl BlockOps for Avx512 {
    #[inline(always)]
    fn finite_magnitude<const N: usize>(self, x: &[f32; N]) -> Option<f32> {
        self.avx2().finite_magnitude(x)
    }

    #[inline(always)]
    fn signed_extreme<const N: usize>(self, x: &[f32; N]) -> f32 {
        self.avx2().signed_extreme(x)
    }

    #[inline(always)]
    fn range(self, x: &[f32; 32]) -> (f32, f32) {
        self.avx2().range(x)
    }

    #[inline(always)]
    fn truncated_levels(self, x: &[f32; 32], shift: f32, factor: f32, offset: f32) -> [u8; 32] {
        self.avx2().truncated_levels(x, shift, factor, offset)
    }

    #[inline(always)]
    fn nearest_away_levels<const N: usize>(self, x: &[f32; N], factor: f32) -> [i8; N] {
        self.avx2().nearest_away_levels(x, factor)
    }

    #[inline(always)]
    fn signed_steps<const N: usize>(self, x: &[f32; N], limits: &[f32; 7]) -> [u8; N] {
        self.avx2().signed_steps(x, limits)
    }

    #[inline(always)]
    fn not_negative(self, x: &[f32; 8]) -> u8 {
        self.avx2().not_negative(x)
    }

    #[inline(always)]
    fn sums_of_magnitudes<const N: usize>(self, rows: &[[f32; N]; 8]) -> [f32; 8] {
        self.avx2().sums_of_magnitudes(rows)
    }

    #[inline(always)]
    fn ranks<const N: usize>(self, keys: &[i32; N]) -> [i32; N] {
        self.avx2().ranks(keys)
    }

    #[inline(always)]
    fn pack_five_bits(self, levels: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
        self.avx2().pack_five_bits(levels)
    }

    #[inline(always)]
    fn halves<const N: usize>(self, values: [f32; N]) -> [u16; N] {
        self.avx2().halves(values)
    }

    #[inline(always)]
    fn nearest_point<const D: usize>(self, candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16 {
        self.avx2().nearest_point(candidates, terms)
    }

    #[inline(always)]
    fn clearly_nearest_point<const D: usize>(
        self,
        candidates: &[[u16; 8]],
        terms: &[[f32; 8]; D],
        margin: f32,
    ) -> (u16, bool) {
        self.avx2().clearly_nearest_point(candidates, terms, margin)
    }

    #[inline(always)]
    fn nearest_points<const D: usize>(self, candidates: &[[u16; 8]], terms: [&[[f32; 8]; D]; 2]) -> [u16; 2] {
        // SAFETY: `self` proves AVX-512.
        unsafe { nearest::nearest_pair::<D, false>(candidates, terms, 0.0) }.map(|(point, _)| point)
    }

    #[inline(always)]
    fn clearly_nearest_points<const D: usize>(
        self,
        candidates: &[[u16; 8]],
        terms: [&[[f32; 8]; D]; 2],
        margin: f32,
    ) -> [(u16, bool); 2] {
        // SAFETY: `self` proves AVX-512.
        unsafe { nearest::nearest_pair::<D, true>(candidates, terms, margin) }
    }

    #[inline(always)]
    fn prefetch(self, candidates: &[u16; 8]) {
        self.avx2().prefetch(candidates);
    }
}
