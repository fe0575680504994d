//! Eight lanes in a register.

use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::{Add, Div, Mul, Sub};

use crate::isa::lanes::{Lanes, Single};
use crate::isa::pair::Pair;
use crate::isa::work::Vector;
use crate::isa::x86_64::detect::Avx2;

/// Eight `f32`. They, and the masks and integers made from them, only come from [`Avx2`]: that is what makes every
/// intrinsic below sound.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

/// A truth value for each of eight lanes, in all its bits.
#[derive(Clone, Copy)]
pub(crate) struct Mask8(__m256);

/// Eight `i32`.
#[derive(Clone, Copy)]
pub(crate) struct I32x8(__m256i);

impl Vector for Avx2 {
    type Lanes = F32x8;
}

impl Single for F32x8 {
    type Double = Pair<Self>;
    type Most = Pair<Self>;
}

impl F32x8 {
    /// The register, which only [`Avx2`] gives lanes for.
    #[inline(always)]
    pub(in crate::isa::x86_64) fn register(self) -> __m256 {
        self.0
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $intrinsic:ident)*) => {$(
        impl $trait for F32x8 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: see `F32x8`.
                Self(unsafe { $intrinsic(self.0, other.0) })
            }
        }
    )*};
}
operators!(Add add _mm256_add_ps Sub sub _mm256_sub_ps Mul mul _mm256_mul_ps Div div _mm256_div_ps);

/// Eight rows of eight become eight columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256; 8]) -> [__m256; 8] {
    // Pairs of rows interleaved, then pairs of pairs, then halves exchanged.
    let pairs: [__m256; 8] = from_fn(|i| {
        let (a, b) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
        if i % 2 == 0 {
            _mm256_unpacklo_ps(a, b)
        } else {
            _mm256_unpackhi_ps(a, b)
        }
    });
    let quads: [__m256; 8] = from_fn(|i| {
        let (a, b) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + 2 + i % 4 / 2]);
        if i % 2 == 0 {
            _mm256_shuffle_ps::<0b01_00_01_00>(a, b)
        } else {
            _mm256_shuffle_ps::<0b11_10_11_10>(a, b)
        }
    });
    from_fn(|i| {
        let (a, b) = (quads[i % 4], quads[4 + i % 4]);
        if i < 4 {
            _mm256_permute2f128_ps::<0x20>(a, b)
        } else {
            _mm256_permute2f128_ps::<0x31>(a, b)
        }
    })
}

impl Lanes for F32x8 {
    type Isa = Avx2;
    type Mask = Mask8;
    type Int = I32x8;

    const COUNT: usize = 8;

    #[inline(always)]
    fn splat(_isa: Avx2, value: f32) -> Self {
        // SAFETY: see `F32x8`.
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    fn load(_isa: Avx2, values: &[f32]) -> Self {
        let values: &[f32; 8] = &values.as_chunks().0[0];
        // SAFETY: see `F32x8`; eight floats are loaded from eight, and the load needs no alignment.
        Self(unsafe { _mm256_loadu_ps(values.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        let values: &mut [f32; 8] = &mut values.as_chunks_mut().0[0];
        // SAFETY: see `F32x8`; eight floats are stored in eight, and the store needs no alignment.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), self.0) };
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: see `F32x8`.
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn rounded(self) -> Self {
        // SAFETY: see `F32x8`.
        Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: see `F32x8`.
        Self(unsafe { _mm256_xor_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: see `F32x8`.
        Self(unsafe { _mm256_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: see `F32x8`.
        Self(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn less(self, other: Self) -> Mask8 {
        // SAFETY: see `F32x8`.
        Mask8(unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0) })
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Mask8 {
        // SAFETY: see `F32x8`.
        Mask8(unsafe { _mm256_cmp_ps::<_CMP_GE_OQ>(self.0, other.0) })
    }
    #[inline(always)]
    fn equal(self, other: Self) -> Mask8 {
        // SAFETY: see `F32x8`.
        Mask8(unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0) })
    }
    #[inline(always)]
    fn select(mask: Mask8, yes: Self, no: Self) -> Self {
        // SAFETY: see `F32x8`.
        Self(unsafe { _mm256_blendv_ps(no.0, yes.0, mask.0) })
    }
    #[inline(always)]
    fn nearest_int(self) -> I32x8 {
        // SAFETY: see `F32x8`.
        I32x8(unsafe {
            let shifted = _mm256_castps_si256(_mm256_add_ps(self.0, _mm256_set1_ps(12_582_912.0)));
            _mm256_sub_epi32(
                _mm256_and_si256(shifted, _mm256_set1_epi32(0x007f_ffff)),
                _mm256_set1_epi32(0x0040_0000),
            )
        })
    }
    #[inline(always)]
    fn columns<const N: usize>(isa: Avx2, rows: &[[f32; N]]) -> [Self; N] {
        let rows: &[[f32; N]; 8] = &rows.as_chunks().0[0];
        const { assert!(N.is_multiple_of(8)) };
        let mut columns = [Self::splat(isa, 0.0); N];
        for part in 0..N / 8 {
            // SAFETY: see `F32x8`; the loads are of eight floats from arrays of eight.
            let transposed = unsafe {
                transpose(from_fn(|j| {
                    _mm256_loadu_ps(rows[j].as_chunks::<8>().0[part].as_ptr())
                }))
            };
            // `map` of an array may be a call.
            for (column, register) in columns[8 * part..].iter_mut().zip(transposed) {
                *column = Self(register);
            }
        }
        columns
    }
    #[inline(always)]
    fn lookup(table: &[f32; 8], index: I32x8) -> Self {
        // SAFETY: see `F32x8`; eight floats are loaded from eight.
        Self(unsafe { _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr()), index.0) })
    }

    #[inline(always)]
    fn splat_int(_isa: Avx2, value: i32) -> I32x8 {
        // SAFETY: see `F32x8`.
        I32x8(unsafe { _mm256_set1_epi32(value) })
    }
    #[inline(always)]
    fn store_int(value: I32x8, values: &mut [i32]) {
        let values: &mut [i32; 8] = &mut values.as_chunks_mut().0[0];
        // SAFETY: see `F32x8`; eight integers are stored in eight, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), value.0) };
    }
    #[inline(always)]
    fn to_float(value: I32x8) -> Self {
        // SAFETY: see `F32x8`.
        Self(unsafe { _mm256_cvtepi32_ps(value.0) })
    }
    #[inline(always)]
    fn clamp(value: I32x8, low: i32, high: i32) -> I32x8 {
        // SAFETY: see `F32x8`.
        I32x8(unsafe {
            _mm256_min_epi32(
                _mm256_max_epi32(value.0, _mm256_set1_epi32(low)),
                _mm256_set1_epi32(high),
            )
        })
    }
    #[inline(always)]
    fn low_byte(value: I32x8) -> I32x8 {
        // SAFETY: see `F32x8`.
        I32x8(unsafe { _mm256_and_si256(value.0, _mm256_set1_epi32(0xff)) })
    }
    #[inline(always)]
    fn int_equal(value: I32x8, other: I32x8) -> Mask8 {
        // SAFETY: see `F32x8`.
        Mask8(unsafe { _mm256_castsi256_ps(_mm256_cmpeq_epi32(value.0, other.0)) })
    }
    #[inline(always)]
    fn int_select(mask: Mask8, yes: I32x8, no: I32x8) -> I32x8 {
        // SAFETY: see `F32x8`.
        I32x8(unsafe { _mm256_blendv_epi8(no.0, yes.0, _mm256_castps_si256(mask.0)) })
    }
    #[inline(always)]
    fn append(value: I32x8, bit: Mask8) -> I32x8 {
        // SAFETY: see `F32x8`. A true lane is minus one.
        I32x8(unsafe { _mm256_sub_epi32(_mm256_add_epi32(value.0, value.0), _mm256_castps_si256(bit.0)) })
    }

    #[inline(always)]
    fn append_byte(value: I32x8, byte: I32x8) -> I32x8 {
        // SAFETY: see `F32x8`.
        I32x8(unsafe { _mm256_or_si256(_mm256_slli_epi32::<8>(value.0), byte.0) })
    }

    #[inline(always)]
    fn and(mask: Mask8, other: Mask8) -> Mask8 {
        // SAFETY: see `F32x8`.
        Mask8(unsafe { _mm256_and_ps(mask.0, other.0) })
    }
    #[inline(always)]
    fn or(mask: Mask8, other: Mask8) -> Mask8 {
        // SAFETY: see `F32x8`.
        Mask8(unsafe { _mm256_or_ps(mask.0, other.0) })
    }
    #[inline(always)]
    fn and_not(mask: Mask8, other: Mask8) -> Mask8 {
        // SAFETY: see `F32x8`.
        Mask8(unsafe { _mm256_andnot_ps(other.0, mask.0) })
    }
    #[inline(always)]
    fn any(mask: Mask8) -> bool {
        // SAFETY: see `F32x8`.
        unsafe { _mm256_movemask_ps(mask.0) != 0 }
    }
    #[inline(always)]
    fn bits(mask: Mask8) -> u32 {
        // SAFETY: see `F32x8`.
        unsafe { _mm256_movemask_ps(mask.0) as u32 }
    }
}
