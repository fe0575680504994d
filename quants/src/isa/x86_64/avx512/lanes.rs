//! Sixteen lanes in a register, and eight in half of one.

use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::{Add, Div, Mul, Sub};

use crate::isa::lanes::{Lanes, Single};
use crate::isa::pair::Pair;
use crate::isa::work::Vector;
use crate::isa::x86_64::avx2::lanes::{F32x8, I32x8, Mask8};
use crate::isa::x86_64::detect::Avx512;

impl Vector for Avx512 {
    type Lanes = Eight;
}

/// AVX2's lanes, for what comes in eights.
#[derive(Clone, Copy)]
pub(crate) struct Eight(F32x8);

/// Sixteen `f32`. They, and the integers made from them, only come from [`Avx512`]: that is what makes every intrinsic
/// below sound.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

/// Sixteen `i32`.
#[derive(Clone, Copy)]
pub(crate) struct I32x16(__m512i);

impl Single for Eight {
    type Double = F32x16;
    type Most = Pair<F32x16>;
}

macro_rules! operators {
    ($($trait:ident $method:ident $intrinsic:ident)*) => {$(
        impl $trait for Eight {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(self.0.$method(other.0))
            }
        }

        impl $trait for F32x16 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: see `F32x16`.
                Self(unsafe { $intrinsic(self.0, other.0) })
            }
        }
    )*};
}
operators!(Add add _mm512_add_ps Sub sub _mm512_sub_ps Mul mul _mm512_mul_ps Div div _mm512_div_ps);

impl Lanes for Eight {
    type Isa = Avx512;
    type Mask = Mask8;
    type Int = I32x8;

    const COUNT: usize = F32x8::COUNT;

    #[inline(always)]
    fn splat(isa: Avx512, value: f32) -> Self {
        Self(F32x8::splat(isa.avx2(), value))
    }
    #[inline(always)]
    fn load(isa: Avx512, values: &[f32]) -> Self {
        Self(F32x8::load(isa.avx2(), values))
    }
    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        self.0.store(values);
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.abs())
    }
    #[inline(always)]
    fn rounded(self) -> Self {
        Self(self.0.rounded())
    }
    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0.neg())
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
    #[inline(always)]
    fn less(self, other: Self) -> Mask8 {
        self.0.less(other.0)
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Mask8 {
        self.0.at_least(other.0)
    }
    #[inline(always)]
    fn equal(self, other: Self) -> Mask8 {
        self.0.equal(other.0)
    }
    #[inline(always)]
    fn select(mask: Mask8, yes: Self, no: Self) -> Self {
        Self(F32x8::select(mask, yes.0, no.0))
    }
    #[inline(always)]
    fn nearest_int(self) -> I32x8 {
        self.0.nearest_int()
    }
    #[inline(always)]
    fn columns<const N: usize>(isa: Avx512, rows: &[[f32; N]]) -> [Self; N] {
        let mut columns = [Self::splat(isa, 0.0); N];
        // `map` of an array may be a call.
        for (column, narrow) in columns.iter_mut().zip(F32x8::columns(isa.avx2(), rows)) {
            *column = Self(narrow);
        }
        columns
    }
    #[inline(always)]
    fn lookup(table: &[f32; 8], index: I32x8) -> Self {
        Self(F32x8::lookup(table, index))
    }

    #[inline(always)]
    fn splat_int(isa: Avx512, value: i32) -> I32x8 {
        F32x8::splat_int(isa.avx2(), value)
    }
    #[inline(always)]
    fn store_int(value: I32x8, values: &mut [i32]) {
        F32x8::store_int(value, values);
    }
    #[inline(always)]
    fn to_float(value: I32x8) -> Self {
        Self(F32x8::to_float(value))
    }
    #[inline(always)]
    fn clamp(value: I32x8, low: i32, high: i32) -> I32x8 {
        F32x8::clamp(value, low, high)
    }
    #[inline(always)]
    fn low_byte(value: I32x8) -> I32x8 {
        F32x8::low_byte(value)
    }
    #[inline(always)]
    fn int_equal(value: I32x8, other: I32x8) -> Mask8 {
        F32x8::int_equal(value, other)
    }
    #[inline(always)]
    fn int_select(mask: Mask8, yes: I32x8, no: I32x8) -> I32x8 {
        F32x8::int_select(mask, yes, no)
    }
    #[inline(always)]
    fn append(value: I32x8, bit: Mask8) -> I32x8 {
        F32x8::append(value, bit)
    }
    #[inline(always)]
    fn append_byte(value: I32x8, byte: I32x8) -> I32x8 {
        F32x8::append_byte(value, byte)
    }

    #[inline(always)]
    fn and(mask: Mask8, other: Mask8) -> Mask8 {
        F32x8::and(mask, other)
    }
    #[inline(always)]
    fn or(mask: Mask8, other: Mask8) -> Mask8 {
        F32x8::or(mask, other)
    }
    #[inline(always)]
    fn and_not(mask: Mask8, other: Mask8) -> Mask8 {
        F32x8::and_not(mask, other)
    }
    #[inline(always)]
    fn any(mask: Mask8) -> bool {
        F32x8::any(mask)
    }
    #[inline(always)]
    fn bits(mask: Mask8) -> u32 {
        F32x8::bits(mask)
    }
}

impl Lanes for F32x16 {
    type Isa = Avx512;
    type Mask = __mmask16;
    type Int = I32x16;

    const COUNT: usize = 16;

    #[inline(always)]
    fn splat(_isa: Avx512, value: f32) -> Self {
        // SAFETY: see `F32x16`.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    fn load(_isa: Avx512, values: &[f32]) -> Self {
        let values: &[f32; 16] = &values.as_chunks().0[0];
        // SAFETY: see `F32x16`; sixteen floats are loaded from sixteen, and the load needs no alignment.
        Self(unsafe { _mm512_loadu_ps(values.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        let values: &mut [f32; 16] = &mut values.as_chunks_mut().0[0];
        // SAFETY: see `F32x16`; sixteen floats are stored in sixteen, and the store needs no alignment.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), self.0) };
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: see `F32x16`.
        Self(unsafe { _mm512_andnot_ps(_mm512_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn rounded(self) -> Self {
        // SAFETY: see `F32x16`.
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: see `F32x16`.
        Self(unsafe { _mm512_xor_ps(_mm512_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: see `F32x16`.
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: see `F32x16`.
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn less(self, other: Self) -> __mmask16 {
        // SAFETY: see `F32x16`.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> __mmask16 {
        // SAFETY: see `F32x16`.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn equal(self, other: Self) -> __mmask16 {
        // SAFETY: see `F32x16`.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn select(mask: __mmask16, yes: Self, no: Self) -> Self {
        // SAFETY: see `F32x16`.
        Self(unsafe { _mm512_mask_blend_ps(mask, no.0, yes.0) })
    }
    #[inline(always)]
    fn nearest_int(self) -> I32x16 {
        // SAFETY: see `F32x16`.
        I32x16(unsafe {
            let shifted = _mm512_castps_si512(_mm512_add_ps(self.0, _mm512_set1_ps(12_582_912.0)));
            _mm512_sub_epi32(
                _mm512_and_si512(shifted, _mm512_set1_epi32(0x007f_ffff)),
                _mm512_set1_epi32(0x0040_0000),
            )
        })
    }
    #[inline(always)]
    fn columns<const N: usize>(isa: Avx512, rows: &[[f32; N]]) -> [Self; N] {
        let [first, second] = from_fn(|half| F32x8::columns(isa.avx2(), &rows[8 * half..8 * half + 8]));
        let mut columns = [Self::splat(isa, 0.0); N];
        for i in 0..N {
            // SAFETY: see `F32x16`.
            columns[i] = Self(unsafe {
                _mm512_insertf32x8::<1>(_mm512_castps256_ps512(first[i].register()), second[i].register())
            });
        }
        columns
    }
    #[inline(always)]
    fn lookup(table: &[f32; 8], index: I32x16) -> Self {
        // SAFETY: see `F32x16`; eight floats are loaded from eight. Twice in a register, so that of an index the lowest
        // three bits count.
        Self(unsafe {
            let table = _mm512_broadcast_f32x8(_mm256_loadu_ps(table.as_ptr()));
            _mm512_permutexvar_ps(index.0, table)
        })
    }

    #[inline(always)]
    fn splat_int(_isa: Avx512, value: i32) -> I32x16 {
        // SAFETY: see `F32x16`.
        I32x16(unsafe { _mm512_set1_epi32(value) })
    }
    #[inline(always)]
    fn store_int(value: I32x16, values: &mut [i32]) {
        let values: &mut [i32; 16] = &mut values.as_chunks_mut().0[0];
        // SAFETY: see `F32x16`; sixteen integers are stored in sixteen, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), value.0) };
    }
    #[inline(always)]
    fn to_float(value: I32x16) -> Self {
        // SAFETY: see `F32x16`.
        Self(unsafe { _mm512_cvtepi32_ps(value.0) })
    }
    #[inline(always)]
    fn clamp(value: I32x16, low: i32, high: i32) -> I32x16 {
        // SAFETY: see `F32x16`.
        I32x16(unsafe {
            _mm512_min_epi32(
                _mm512_max_epi32(value.0, _mm512_set1_epi32(low)),
                _mm512_set1_epi32(high),
            )
        })
    }
    #[inline(always)]
    fn low_byte(value: I32x16) -> I32x16 {
        // SAFETY: see `F32x16`.
        I32x16(unsafe { _mm512_and_si512(value.0, _mm512_set1_epi32(0xff)) })
    }
    #[inline(always)]
    fn int_equal(value: I32x16, other: I32x16) -> __mmask16 {
        // SAFETY: see `F32x16`.
        unsafe { _mm512_cmpeq_epi32_mask(value.0, other.0) }
    }
    #[inline(always)]
    fn int_select(mask: __mmask16, yes: I32x16, no: I32x16) -> I32x16 {
        // SAFETY: see `F32x16`.
        I32x16(unsafe { _mm512_mask_blend_epi32(mask, no.0, yes.0) })
    }
    #[inline(always)]
    fn append(value: I32x16, bit: __mmask16) -> I32x16 {
        // SAFETY: see `F32x16`.
        I32x16(unsafe {
            let twice = _mm512_add_epi32(value.0, value.0);
            _mm512_mask_add_epi32(twice, bit, twice, _mm512_set1_epi32(1))
        })
    }
    #[inline(always)]
    fn append_byte(value: I32x16, byte: I32x16) -> I32x16 {
        // SAFETY: see `F32x16`.
        I32x16(unsafe { _mm512_or_si512(_mm512_slli_epi32::<8>(value.0), byte.0) })
    }

    #[inline(always)]
    fn and(mask: __mmask16, other: __mmask16) -> __mmask16 {
        mask & other
    }
    #[inline(always)]
    fn or(mask: __mmask16, other: __mmask16) -> __mmask16 {
        mask | other
    }
    #[inline(always)]
    fn and_not(mask: __mmask16, other: __mmask16) -> __mmask16 {
        mask & !other
    }
    #[inline(always)]
    fn any(mask: __mmask16) -> bool {
        mask != 0
    }
    #[inline(always)]
    fn bits(mask: __mmask16) -> u32 {
        u32::from(mask)
    }
}
