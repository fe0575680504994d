//! Lanes: `f32` side by side in a register, for searches that put a sub-block or a candidate in each.

use std::ops::{Add, Div, Mul, Sub};

/// A register of `f32`, one in each lane.
///
/// Lanes are made from the instruction set, and everything else from lanes: who has some has the instruction set.
pub(crate) trait Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// The instruction set, as a proof that this CPU has it.
    type Isa: Copy;
    /// A truth value for each lane.
    type Mask: Copy;
    /// An `i32` in each lane.
    type Int: Copy;

    /// The number of lanes, and the length of slices that are read or written.
    const COUNT: usize;

    fn splat(isa: Self::Isa, value: f32) -> Self;
    fn load(isa: Self::Isa, values: &[f32]) -> Self;
    fn store(self, values: &mut [f32]);
    fn abs(self) -> Self;
    fn neg(self) -> Self;
    /// To the nearest integer, ties to even: [`crate::round::nearest_int`] as a float for magnitudes below 2^22, larger
    /// ones left open.
    fn rounded(self) -> Self;
    /// `other` where `self` is not below it, NaN included.
    fn min(self, other: Self) -> Self;
    /// `other` where `self` is not above it, NaN included.
    fn max(self, other: Self) -> Self;
    fn less(self, other: Self) -> Self::Mask;
    fn at_least(self, other: Self) -> Self::Mask;
    fn equal(self, other: Self) -> Self::Mask;
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// See [`crate::round::nearest_int`].
    fn nearest_int(self) -> Self::Int;
    /// Element `i` of each row, for all `i`.
    fn columns<const N: usize>(isa: Self::Isa, rows: &[[f32; N]]) -> [Self; N];
    /// The table's values at the lowest three bits of each lane.
    fn lookup(table: &[f32; 8], index: Self::Int) -> Self;

    fn splat_int(isa: Self::Isa, value: i32) -> Self::Int;
    fn store_int(value: Self::Int, values: &mut [i32]);
    fn to_float(value: Self::Int) -> Self;
    fn clamp(value: Self::Int, low: i32, high: i32) -> Self::Int;
    fn low_byte(value: Self::Int) -> Self::Int;
    fn int_equal(value: Self::Int, other: Self::Int) -> Self::Mask;
    fn int_select(mask: Self::Mask, yes: Self::Int, no: Self::Int) -> Self::Int;
    /// `2 * value`, plus one where the mask is true.
    fn append(value: Self::Int, bit: Self::Mask) -> Self::Int;
    /// `256 * value + byte`; the byte has no higher bits.
    fn append_byte(value: Self::Int, byte: Self::Int) -> Self::Int;

    fn and(mask: Self::Mask, other: Self::Mask) -> Self::Mask;
    fn or(mask: Self::Mask, other: Self::Mask) -> Self::Mask;
    /// `mask`, but false where `other` is true.
    fn and_not(mask: Self::Mask, other: Self::Mask) -> Self::Mask;
    fn any(mask: Self::Mask) -> bool;
    /// A bit for each lane, the first in the lowest.
    fn bits(mask: Self::Mask) -> u32;
}

/// Lanes of one register at most, and the wider ones that an instruction set has for many sub-blocks.
pub(crate) trait Single: Lanes {
    /// Twice as many.
    type Double: Lanes<Isa = Self::Isa>;
    /// As many as pay: registers enough to fill the waits of a search for its own results.
    type Most: Lanes<Isa = Self::Isa>;
}

/// Writes lane `j` of the chosen level `i` to `levels[j][i]`.
#[inline(always)]
pub(crate) fn store_levels<L: Lanes, const N: usize>(levels: &mut [[u8; N]], chosen: &[L::Int; N]) {
    for (four, chosen) in chosen.as_chunks::<4>().0.iter().enumerate() {
        let mut lanes = [0; MOST_LANES];
        let bytes = L::append_byte(L::append_byte(chosen[3], chosen[2]), chosen[1]);
        L::store_int(L::append_byte(bytes, chosen[0]), &mut lanes[..L::COUNT]);
        for (levels, lane) in levels.iter_mut().zip(lanes) {
            levels.as_chunks_mut::<4>().0[four] = lane.to_le_bytes();
        }
    }
}

/// The largest number of lanes.
pub(crate) const MOST_LANES: usize = 32;
