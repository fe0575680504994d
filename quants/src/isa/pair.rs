//! Two registers as one of twice as many lanes.

use std::ops::{Add, Div, Mul, Sub};

use crate::isa::lanes::Lanes;

/// The lanes of two registers.
#[derive(Clone, Copy)]
pub(crate) struct Pair<L>(L, L);

macro_rules! operators {
    ($($trait:ident $method:ident)*) => {$(
        impl<L: Lanes> $trait for Pair<L> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(self.0.$method(other.0), self.1.$method(other.1))
            }
        }
    )*};
}
operators!(Add add Sub sub Mul mul Div div);

impl<L: Lanes> Lanes for Pair<L> {
    type Isa = L::Isa;
    type Mask = (L::Mask, L::Mask);
    type Int = (L::Int, L::Int);

    const COUNT: usize = 2 * L::COUNT;

    #[inline(always)]
    fn splat(isa: L::Isa, value: f32) -> Self {
        Self(L::splat(isa, value), L::splat(isa, value))
    }
    #[inline(always)]
    fn load(isa: L::Isa, values: &[f32]) -> Self {
        let (first, second) = values.split_at(L::COUNT);
        Self(L::load(isa, first), L::load(isa, second))
    }
    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        let (first, second) = values.split_at_mut(L::COUNT);
        self.0.store(first);
        self.1.store(second);
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.abs(), self.1.abs())
    }
    #[inline(always)]
    fn rounded(self) -> Self {
        Self(self.0.rounded(), self.1.rounded())
    }
    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0.neg(), self.1.neg())
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.min(other.1))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0), self.1.max(other.1))
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        (self.0.less(other.0), self.1.less(other.1))
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self::Mask {
        (self.0.at_least(other.0), self.1.at_least(other.1))
    }
    #[inline(always)]
    fn equal(self, other: Self) -> Self::Mask {
        (self.0.equal(other.0), self.1.equal(other.1))
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(L::select(mask.0, yes.0, no.0), L::select(mask.1, yes.1, no.1))
    }
    #[inline(always)]
    fn nearest_int(self) -> Self::Int {
        (self.0.nearest_int(), self.1.nearest_int())
    }
    #[inline(always)]
    fn columns<const N: usize>(isa: L::Isa, rows: &[[f32; N]]) -> [Self; N] {
        let (first, second) = rows.split_at(L::COUNT);
        let (first, second) = (L::columns(isa, first), L::columns(isa, second));
        let mut columns = [Self::splat(isa, 0.0); N];
        for i in 0..N {
            columns[i] = Self(first[i], second[i]);
        }
        columns
    }
    #[inline(always)]
    fn lookup(table: &[f32; 8], index: Self::Int) -> Self {
        Self(L::lookup(table, index.0), L::lookup(table, index.1))
    }

    #[inline(always)]
    fn splat_int(isa: L::Isa, value: i32) -> Self::Int {
        (L::splat_int(isa, value), L::splat_int(isa, value))
    }
    #[inline(always)]
    fn store_int(value: Self::Int, values: &mut [i32]) {
        let (first, second) = values.split_at_mut(L::COUNT);
        L::store_int(value.0, first);
        L::store_int(value.1, second);
    }
    #[inline(always)]
    fn to_float(value: Self::Int) -> Self {
        Self(L::to_float(value.0), L::to_float(value.1))
    }
    #[inline(always)]
    fn clamp(value: Self::Int, low: i32, high: i32) -> Self::Int {
        (L::clamp(value.0, low, high), L::clamp(value.1, low, high))
    }
    #[inline(always)]
    fn low_byte(value: Self::Int) -> Self::Int {
        (L::low_byte(value.0), L::low_byte(value.1))
    }
    #[inline(always)]
    fn int_equal(value: Self::Int, other: Self::Int) -> Self::Mask {
        (L::int_equal(value.0, other.0), L::int_equal(value.1, other.1))
    }
    #[inline(always)]
    fn int_select(mask: Self::Mask, yes: Self::Int, no: Self::Int) -> Self::Int {
        (
            L::int_select(mask.0, yes.0, no.0),
            L::int_select(mask.1, yes.1, no.1),
        )
    }
    #[inline(always)]
    fn append(value: Self::Int, bit: Self::Mask) -> Self::Int {
        (L::append(value.0, bit.0), L::append(value.1, bit.1))
    }

    #[inline(always)]
    fn append_byte(value: Self::Int, byte: Self::Int) -> Self::Int {
        (L::append_byte(value.0, byte.0), L::append_byte(value.1, byte.1))
    }

    #[inline(always)]
    fn and(mask: Self::Mask, other: Self::Mask) -> Self::Mask {
        (L::and(mask.0, other.0), L::and(mask.1, other.1))
    }
    #[inline(always)]
    fn or(mask: Self::Mask, other: Self::Mask) -> Self::Mask {
        (L::or(mask.0, other.0), L::or(mask.1, other.1))
    }
    #[inline(always)]
    fn and_not(mask: Self::Mask, other: Self::Mask) -> Self::Mask {
        (L::and_not(mask.0, other.0), L::and_not(mask.1, other.1))
    }
    #[inline(always)]
    fn any(mask: Self::Mask) -> bool {
        L::any(mask.0) | L::any(mask.1)
    }
    #[inline(always)]
    fn bits(mask: Self::Mask) -> u32 {
        L::bits(mask.0) | L::bits(mask.1) << L::COUNT
    }
}
