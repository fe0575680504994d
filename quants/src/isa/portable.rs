//! Lanes without intrinsics: the compiler makes vectors of them where the instruction set has any.

use std::array::from_fn;
use std::ops::{Add, Div, Mul, Sub};

use crate::isa::lanes::Lanes;
use crate::round::nearest_int;
use crate::search::kernel::{Nearest, Pass, Scalar};

/// Eight lanes as an array.
#[derive(Clone, Copy)]
pub(in crate::isa) struct Portable([f32; 8]);

macro_rules! operators {
    ($($trait:ident $method:ident $operator:tt)*) => {$(
        impl $trait for Portable {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(from_fn(|i| self.0[i] $operator other.0[i]))
            }
        }
    )*};
}
operators!(Add add + Sub sub - Mul mul * Div div /);

impl Nearest for Portable {
    #[inline(always)]
    fn nearest<const D: usize>(candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16 {
        Scalar::nearest(candidates, terms)
    }
}

impl Pass for Portable {}

impl Lanes for Portable {
    type Mask = [bool; 8];
    type Int = [i32; 8];

    const COUNT: usize = 8;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    fn load(values: &[f32]) -> Self {
        Self(values.as_chunks().0[0])
    }
    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        values.as_chunks_mut().0[0] = self.0;
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0.map(|x| -x))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(from_fn(|i| {
            if self.0[i] < other.0[i] {
                self.0[i]
            } else {
                other.0[i]
            }
        }))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(from_fn(|i| {
            if self.0[i] > other.0[i] {
                self.0[i]
            } else {
                other.0[i]
            }
        }))
    }
    #[inline(always)]
    fn less(self, other: Self) -> [bool; 8] {
        from_fn(|i| self.0[i] < other.0[i])
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> [bool; 8] {
        from_fn(|i| self.0[i] >= other.0[i])
    }
    #[inline(always)]
    fn equal(self, other: Self) -> [bool; 8] {
        from_fn(|i| self.0[i] == other.0[i])
    }
    #[inline(always)]
    fn select(mask: [bool; 8], yes: Self, no: Self) -> Self {
        Self(from_fn(|i| if mask[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    fn nearest_int(self) -> [i32; 8] {
        self.0.map(nearest_int)
    }
    #[inline(always)]
    fn columns<const N: usize>(rows: &[[f32; N]]) -> [Self; N] {
        from_fn(|i| Self(from_fn(|j| rows[j][i])))
    }
    #[inline(always)]
    fn lookup(table: &[f32; 8], index: [i32; 8]) -> Self {
        Self(index.map(|i| table[(i & 7) as usize]))
    }

    #[inline(always)]
    fn splat_int(value: i32) -> [i32; 8] {
        [value; 8]
    }
    #[inline(always)]
    fn store_int(value: [i32; 8], values: &mut [i32]) {
        values.as_chunks_mut().0[0] = value;
    }
    #[inline(always)]
    fn to_float(value: [i32; 8]) -> Self {
        Self(value.map(|x| x as f32))
    }
    #[inline(always)]
    fn clamp(value: [i32; 8], low: i32, high: i32) -> [i32; 8] {
        value.map(|x| x.max(low).min(high))
    }
    #[inline(always)]
    fn low_byte(value: [i32; 8]) -> [i32; 8] {
        value.map(|x| x & 0xff)
    }
    #[inline(always)]
    fn int_equal(value: [i32; 8], other: [i32; 8]) -> [bool; 8] {
        from_fn(|i| value[i] == other[i])
    }
    #[inline(always)]
    fn int_select(mask: [bool; 8], yes: [i32; 8], no: [i32; 8]) -> [i32; 8] {
        from_fn(|i| if mask[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    fn append(value: [i32; 8], bit: [bool; 8]) -> [i32; 8] {
        from_fn(|i| 2 * value[i] + i32::from(bit[i]))
    }

    #[inline(always)]
    fn append_byte(value: [i32; 8], byte: [i32; 8]) -> [i32; 8] {
        from_fn(|i| value[i] << 8 | byte[i])
    }

    #[inline(always)]
    fn and(mask: [bool; 8], other: [bool; 8]) -> [bool; 8] {
        from_fn(|i| mask[i] & other[i])
    }
    #[inline(always)]
    fn or(mask: [bool; 8], other: [bool; 8]) -> [bool; 8] {
        from_fn(|i| mask[i] | other[i])
    }
    #[inline(always)]
    fn and_not(mask: [bool; 8], other: [bool; 8]) -> [bool; 8] {
        from_fn(|i| mask[i] & !other[i])
    }
    #[inline(always)]
    fn any(mask: [bool; 8]) -> bool {
        mask.contains(&true)
    }
    #[inline(always)]
    fn bits(mask: [bool; 8]) -> u32 {
        (0..8).fold(0, |bits, i| bits | u32::from(mask[i]) << i)
    }
}
