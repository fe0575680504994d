//! Operations on the elements of a block, elements in lanes.

use std::arch::x86_64::*;
use std::array;

use crate::f16;
use crate::isa::lanes::Lanes;
use crate::isa::ops::{BlockOps, later};
use crate::isa::x86_64::avx2::lanes::F32x8;
use crate::isa::x86_64::avx2::nearest;
use crate::isa::x86_64::detect::Avx2;
use crate::levels::build;
use crate::reduce;

impl BlockOps for Avx2 {
    #[inline(always)]
    fn finite_magnitude<const N: usize>(self, x: &[f32; N]) -> Option<f32> {
        // SAFETY: `self` proves AVX2.
        let bits = unsafe { largest_magnitude(x) };
        (bits < 0x7f80_0000).then(|| f32::from_bits(bits))
    }

    #[inline(always)]
    fn signed_extreme<const N: usize>(self, x: &[f32; N]) -> f32 {
        // SAFETY: `self` proves AVX2.
        let (bits, first) = unsafe {
            let bits = largest_magnitude(x);
            (bits, first_of_magnitude(x, bits))
        };
        match bits {
            0 => 0.0,
            0x7f80_0000.. => reduce::signed_extreme(x),
            _ => x[first],
        }
    }

    #[inline(always)]
    fn range(self, x: &[f32; 32]) -> (f32, f32) {
        // SAFETY: `self` proves AVX2.
        let (min, max) = unsafe { range(x) };
        // Which of two zeros comes first shows in the sign that is stored.
        if min == 0.0 { reduce::range(x) } else { (min, max) }
    }

    #[inline(always)]
    fn truncated_levels(self, x: &[f32; 32], shift: f32, factor: f32, offset: f32) -> [u8; 32] {
        // SAFETY: `self` proves AVX2.
        unsafe { truncated_levels(x, shift, factor, offset) }
    }

    #[inline(always)]
    fn nearest_away_levels<const N: usize>(self, x: &[f32; N], factor: f32) -> [i8; N] {
        // SAFETY: `self` proves AVX2.
        unsafe { nearest_away_levels(x, factor) }.map(|byte| byte as i8)
    }

    #[inline(always)]
    fn signed_steps<const N: usize>(self, x: &[f32; N], limits: &[f32; 7]) -> [u8; N] {
        // SAFETY: `self` proves AVX2.
        unsafe { signed_steps(x, limits) }
    }

    #[inline(always)]
    fn not_negative(self, x: &[f32; 8]) -> u8 {
        // SAFETY: `self` proves AVX2; the load is of eight floats from eight.
        unsafe {
            let above = _mm256_cmp_ps::<_CMP_GE_OQ>(_mm256_loadu_ps(x.as_ptr()), _mm256_setzero_ps());
            _mm256_movemask_ps(above) as u8
        }
    }

    #[inline(always)]
    fn sums_of_magnitudes<const N: usize>(self, rows: &[[f32; N]; 8]) -> [f32; 8] {
        const { assert!(N.is_multiple_of(8)) };
        let mut sums = F32x8::splat(self, 0.0);
        for part in 0..N / 8 {
            // Loaded and transposed: left to itself, the compiler gathers each column.
            let square: [[f32; 8]; 8] = build(|j| rows[j].as_chunks().0[part]);
            for column in F32x8::columns(self, &square) {
                sums = sums + column.abs();
            }
        }
        let mut stored = [0.0; 8];
        sums.store(&mut stored);
        stored
    }

    #[inline(always)]
    fn ranks<const N: usize>(self, keys: &[i32; N]) -> [i32; N] {
        // SAFETY: `self` proves AVX2.
        unsafe { ranks(keys) }
    }

    #[inline(always)]
    fn pack_five_bits(self, levels: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
        // SAFETY: `self` proves AVX2.
        unsafe { pack_five_bits(levels) }
    }

    #[inline(always)]
    fn halves<const N: usize>(self, values: [f32; N]) -> [u16; N] {
        // SAFETY: `self` proves AVX2 and F16C.
        unsafe { halves(values) }
    }

    #[inline(always)]
    fn nearest_point<const D: usize>(self, candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16 {
        // SAFETY: `self` proves AVX2.
        unsafe { nearest::nearest::<D, false>(candidates, terms, 0.0).0 }
    }

    #[inline(always)]
    fn clearly_nearest_point<const D: usize>(
        self,
        candidates: &[[u16; 8]],
        terms: &[[f32; 8]; D],
        margin: f32,
    ) -> (u16, bool) {
        // SAFETY: `self` proves AVX2.
        unsafe { nearest::nearest::<D, true>(candidates, terms, margin) }
    }

    #[inline(always)]
    fn prefetch(self, candidates: &[u16; 8]) {
        // SAFETY: prefetching has no effect but on caches, and SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(candidates.as_ptr().cast()) }
    }
}

/// Eight of the elements.
#[target_feature(enable = "avx2")]
#[inline]
fn load<const N: usize>(x: &[f32; N], part: usize) -> __m256 {
    const { assert!(N.is_multiple_of(8)) };
    // SAFETY: eight floats are loaded from an array of eight.
    unsafe { _mm256_loadu_ps(x.as_chunks::<8>().0[part].as_ptr()) }
}

/// The bits of the magnitudes.
#[target_feature(enable = "avx2")]
#[inline]
fn magnitudes(x: __m256) -> __m256i {
    _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fff_ffff))
}

/// The bits of the largest magnitude.
#[target_feature(enable = "avx2")]
#[inline]
fn largest_magnitude<const N: usize>(x: &[f32; N]) -> u32 {
    let mut largest = magnitudes(load(x, 0));
    for part in 1..N / 8 {
        largest = _mm256_max_epi32(largest, magnitudes(load(x, part)));
    }
    let half = _mm_max_epi32(
        _mm256_castsi256_si128(largest),
        _mm256_extracti128_si256::<1>(largest),
    );
    let quarter = _mm_max_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
    _mm_cvtsi128_si32(_mm_max_epi32(
        quarter,
        _mm_shuffle_epi32::<0b10_11_00_01>(quarter),
    )) as u32
}

/// The index of the first element of this magnitude, of which there is one.
#[target_feature(enable = "avx2")]
#[inline]
fn first_of_magnitude<const N: usize>(x: &[f32; N], bits: u32) -> usize {
    const { assert!(N <= 32) };
    let wanted = _mm256_set1_epi32(bits as i32);
    let found = (0..N / 8).fold(0, |found, part| {
        let equal = _mm256_cmpeq_epi32(magnitudes(load(x, part)), wanted);
        found | (_mm256_movemask_ps(_mm256_castsi256_ps(equal)) as u32) << (8 * part)
    });
    found.trailing_zeros() as usize
}

/// The smallest and the largest element, of equal zeros any.
#[target_feature(enable = "avx2")]
#[inline]
fn range(x: &[f32; 32]) -> (f32, f32) {
    let (mut min, mut max) = (load(x, 0), load(x, 0));
    for part in 1..4 {
        min = _mm256_min_ps(min, load(x, part));
        max = _mm256_max_ps(max, load(x, part));
    }
    // The smallest and the negated largest go the rest of the way together.
    let low = _mm_min_ps(_mm256_castps256_ps128(min), _mm256_extractf128_ps::<1>(min));
    let high = _mm_max_ps(_mm256_castps256_ps128(max), _mm256_extractf128_ps::<1>(max));
    let high = _mm_xor_ps(high, _mm_set1_ps(-0.0));
    let pairs = _mm_min_ps(_mm_unpacklo_ps(low, high), _mm_unpackhi_ps(low, high));
    let both = _mm_min_ps(pairs, _mm_movehl_ps(pairs, pairs));
    (
        _mm_cvtss_f32(both),
        -_mm_cvtss_f32(_mm_shuffle_ps::<0b01_01_01_01>(both, both)),
    )
}

/// The lowest byte of each integer. `integers(part)` gives eight.
///
/// Bytes are stored 32 at once where there are as many: a load of 32 would have to wait for two stores.
#[target_feature(enable = "avx2")]
#[inline]
fn low_bytes<const N: usize>(integers: impl Fn(usize) -> __m256i) -> [u8; N] {
    const { assert!(N.is_multiple_of(16)) };
    let lowest = _mm256_set1_epi32(0xff);
    let words = |part| {
        _mm256_packus_epi32(
            _mm256_and_si256(integers(part), lowest),
            _mm256_and_si256(integers(part + 1), lowest),
        )
    };
    let mut bytes = [0; N];
    let (wide, narrow) = bytes.as_chunks_mut::<32>();
    for (i, bytes) in wide.iter_mut().enumerate() {
        let packed = _mm256_packus_epi16(words(4 * i), words(4 * i + 2));
        // Four bytes of each vector's lower half come before those of the upper halves.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let packed = _mm256_permutevar8x32_epi32(packed, order);
        // SAFETY: 32 bytes are stored in an array of 32.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), packed) };
    }
    if let [bytes] = narrow.as_chunks_mut::<16>().0 {
        // The four quarters come as first, third, second, fourth.
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words(N / 8 - 2));
        let packed = _mm_packus_epi16(
            _mm256_castsi256_si128(words),
            _mm256_extracti128_si256::<1>(words),
        );
        // SAFETY: sixteen bytes are stored in an array of sixteen.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed) };
    }
    bytes
}

#[target_feature(enable = "avx2")]
#[inline]
fn truncated_levels(x: &[f32; 32], shift: f32, factor: f32, offset: f32) -> [u8; 32] {
    let (shift, factor, offset) = (
        _mm256_set1_ps(shift),
        _mm256_set1_ps(factor),
        _mm256_set1_ps(offset),
    );
    low_bytes(|part| {
        let scaled = _mm256_mul_ps(_mm256_sub_ps(load(x, part), shift), factor);
        _mm256_cvttps_epi32(_mm256_add_ps(scaled, offset))
    })
}

#[target_feature(enable = "avx2")]
#[inline]
fn nearest_away_levels<const N: usize>(x: &[f32; N], factor: f32) -> [u8; N] {
    let factor = _mm256_set1_ps(factor);
    // See `crate::round::nearest_away_level`.
    let (half, sign) = (_mm256_set1_ps(0.499_999_97), _mm256_set1_ps(-0.0));
    low_bytes(|part| {
        let scaled = _mm256_mul_ps(load(x, part), factor);
        let half = _mm256_or_ps(half, _mm256_and_ps(scaled, sign));
        _mm256_cvttps_epi32(_mm256_add_ps(scaled, half))
    })
}

#[target_feature(enable = "avx2")]
#[inline]
fn signed_steps<const N: usize>(x: &[f32; N], limits: &[f32; 7]) -> [u8; N] {
    low_bytes(|part| {
        let x = load(x, part);
        let magnitude = _mm256_castsi256_ps(magnitudes(x));
        let level = limits.iter().fold(_mm256_setzero_si256(), |level, limit| {
            // True is minus one.
            let above = _mm256_cmp_ps::<_CMP_GT_OQ>(magnitude, _mm256_set1_ps(*limit));
            _mm256_sub_epi32(level, _mm256_castps_si256(above))
        });
        let negative = _mm256_srai_epi32::<31>(_mm256_castps_si256(x));
        let above_none = _mm256_cmpeq_epi32(level, _mm256_setzero_si256());
        let sign = _mm256_and_si256(_mm256_andnot_si256(above_none, negative), _mm256_set1_epi32(8));
        _mm256_or_si256(level, sign)
    })
}

/// Keys in lanes. Left to itself, the compiler gathers the table's columns.
#[target_feature(enable = "avx2")]
#[inline]
fn ranks<const N: usize>(keys: &[i32; N]) -> [i32; N] {
    const { assert!(N.is_multiple_of(8)) };
    let mut ranks = [0; N];
    for (part, ranks) in ranks.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let eight = |row: &[i32; N]| {
            // SAFETY: eight integers are loaded from an array of eight.
            unsafe { _mm256_loadu_si256(row.as_chunks::<8>().0[part].as_ptr().cast()) }
        };
        let own = eight(keys);
        let mut before = _mm256_setzero_si256();
        for (&other, later) in keys.iter().zip(later::<N>()) {
            let compared = _mm256_add_epi32(own, eight(later));
            // True is minus one.
            before = _mm256_sub_epi32(before, _mm256_cmpgt_epi32(compared, _mm256_set1_epi32(other)));
        }
        // SAFETY: eight integers are stored in an array of eight.
        unsafe { _mm256_storeu_si256(ranks.as_mut_ptr().cast(), before) };
    }
    ranks
}

#[target_feature(enable = "avx2")]
#[inline]
fn pack_five_bits(levels: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
    // SAFETY: 32 bytes are loaded from 32, and sixteen stored in sixteen.
    unsafe {
        let levels = _mm256_loadu_si256(levels.as_ptr().cast());
        // The fifth bit goes to the top of its byte.
        let fifth = _mm256_movemask_epi8(_mm256_slli_epi16::<3>(levels)) as u32;
        let nibbles = _mm256_and_si256(levels, _mm256_set1_epi8(15));
        let high = _mm_slli_epi16::<4>(_mm256_extracti128_si256::<1>(nibbles));
        let mut packed = [0; 16];
        _mm_storeu_si128(
            packed.as_mut_ptr().cast(),
            _mm_or_si128(_mm256_castsi256_si128(nibbles), high),
        );
        (packed, fifth.to_le_bytes())
    }
}

#[target_feature(enable = "avx2,f16c")]
#[inline]
fn halves<const N: usize>(values: [f32; N]) -> [u16; N] {
    const { assert!(N <= 4) };
    let mut lanes = [0.0; 4];
    lanes[..N].copy_from_slice(&values);
    // SAFETY: four floats are loaded from an array of four.
    let lanes = unsafe { _mm_loadu_ps(lanes.as_ptr()) };
    if _mm_movemask_ps(_mm_cmpunord_ps(lanes, lanes)) != 0 {
        // The instruction would keep the payload of NaN.
        return values.map(f16::from_f32);
    }
    let packed = _mm_cvtsi128_si64(_mm_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(lanes));
    array::from_fn(|lane| (packed >> (16 * lane)) as u16)
}
