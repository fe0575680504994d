//! Lanes without intrinsics, which the compiler puts in the registers of the instruction set.

use std::array::from_fn;
use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Sub};

use crate::isa::lanes::{Lanes, Single};
use crate::isa::pair::Pair;
use crate::round::nearest_int;

/// Eight lanes as an array, for code compiled for the instruction set `I`.
#[derive(Clone, Copy)]
pub(crate) struct Portable<I>([f32; 8], PhantomData<I>);

impl<I> Portable<I> {
    #[inline(always)]
    fn new(lanes: [f32; 8]) -> Self {
        Self(lanes, PhantomData)
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $operator:tt)*) => {$(
        impl<I: Copy> $trait for Portable<I> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self::new(from_fn(|i| self.0[i] $operator other.0[i]))
            }
        }
    )*};
}
operators!(Add add + Sub sub - Mul mul * Div div /);

impl<I: Copy> Single for Portable<I> {
    type Double = Pair<Self>;
    type Most = Pair<Self>;
}

impl<I: Copy> Lanes for Portable<I> {
    type Isa = I;
    type Mask = [bool; 8];
    type Int = [i32; 8];

    const COUNT: usize = 8;

    #[inline(always)]
    fn splat(_isa: I, value: f32) -> Self {
        Self::new([value; 8])
    }
    #[inline(always)]
    fn load(_isa: I, values: &[f32]) -> Self {
        Self::new(values.as_chunks().0[0])
    }
    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        values.as_chunks_mut().0[0] = self.0;
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self::new(self.0.map(f32::abs))
    }
    #[inline(always)]
    fn rounded(self) -> Self {
        Self::new(self.0.map(|x| x + 12_582_912.0 - 12_582_912.0))
    }
    #[inline(always)]
    fn neg(self) -> Self {
        Self::new(self.0.map(|x| -x))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self::new(from_fn(|i| {
            if self.0[i] < other.0[i] {
                self.0[i]
            } else {
                other.0[i]
            }
        }))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self::new(from_fn(|i| {
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
        Self::new(from_fn(|i| if mask[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    fn nearest_int(self) -> [i32; 8] {
        self.0.map(nearest_int)
    }
    #[inline(always)]
    fn columns<const N: usize>(_isa: I, rows: &[[f32; N]]) -> [Self; N] {
        from_fn(|i| Self::new(from_fn(|j| rows[j][i])))
    }
    #[inline(always)]
    fn lookup(table: &[f32; 8], index: [i32; 8]) -> Self {
        Self::new(index.map(|i| table[(i & 7) as usize]))
    }

    #[inline(always)]
    fn splat_int(_isa: I, value: i32) -> [i32; 8] {
        [value; 8]
    }
    #[inline(always)]
    fn store_int(value: [i32; 8], values: &mut [i32]) {
        values.as_chunks_mut().0[0] = value;
    }
    #[inline(always)]
    fn to_float(value: [i32; 8]) -> Self {
        Self::new(value.map(|x| x as f32))
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

#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::Portable;
    use crate::isa::{BlockOps, Detected, Vector};
    use crate::tests::hard_rows;
    use crate::{can_encode, codec, requires_importance};

    crate::isa::work::define_instruction_set! {
        /// The baseline of x86-64.
        Sse2 runs work: is_x86_feature_detected, "sse2"
    }

    impl BlockOps for Sse2 {}

    impl Vector for Sse2 {
        type Lanes = Portable<Self>;
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The portable lanes are NEON's; here they are tested on x86-64.
        #[test]
        fn portable_lanes_agree_with_scalar((row, importance) in hard_rows()) {
            let isa = Sse2::detect().expect("every x86-64 has it");
            for info in gguf::TYPES.iter().filter(|info| can_encode(info.ty)) {
                let ty = info.ty;
                let encode_rows = codec::find(ty).and_then(|codec| codec.encode_rows).expect("an encoder");
                for importance in [Some(&importance[..]), None] {
                    if importance.is_none() && requires_importance(ty) {
                        continue;
                    }
                    let mut expected = vec![0; row.len() / ty.block_len() * ty.block_bytes()];
                    let mut found = vec![0xaa; expected.len()];
                    encode_rows(Detected::Scalar, &row, importance, &mut expected);
                    encode_rows(Detected::Sse2(isa), &row, importance, &mut found);
                    prop_assert!(expected == found, "{}, importance: {}", ty, importance.is_some());
                }
            }
        }
    }
}
