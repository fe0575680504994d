//! Views of bytes as blocks.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::f16;
use crate::isa::BlockOps;

/// A half-precision value in a block.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub(crate) struct Half([u8; 2]);

impl Half {
    pub(crate) const ZERO: Self = Self([0; 2]);

    /// The nearest half-precision value.
    #[inline(always)]
    pub(crate) fn new(value: f32) -> Self {
        Self(f16::from_f32(value).to_le_bytes())
    }

    /// [`Self::new`] of at most four.
    #[inline(always)]
    pub(crate) fn several<const N: usize>(isa: impl BlockOps, values: [f32; N]) -> [Self; N] {
        isa.halves(values).map(|half| Self(half.to_le_bytes()))
    }

    #[inline(always)]
    pub(crate) fn get(self) -> f32 {
        f16::to_f32(u16::from_le_bytes(self.0))
    }
}

/// The blocks in `bytes`. The API has checked that they are whole.
#[inline]
pub(crate) fn blocks<B: FromBytes + Immutable + KnownLayout + Unaligned>(bytes: &[u8]) -> &[B] {
    <[B]>::ref_from_bytes(bytes).expect("whole blocks")
}

/// The blocks to write in `bytes`. The API has checked that they are whole.
#[inline]
pub(crate) fn blocks_mut<B: FromBytes + IntoBytes + KnownLayout + Unaligned>(bytes: &mut [u8]) -> &mut [B] {
    <[B]>::mut_from_bytes(bytes).expect("whole blocks")
}

/// Weights of some super-blocks, their importance, and the blocks to write.
type Tile<'a, B> = (&'a [[f32; 256]], Option<&'a [[f32; 256]]>, &'a mut [B]);

/// Super-blocks of a row, `count` at a time.
#[inline(always)]
pub(crate) fn tiles<'a, B: FromBytes + IntoBytes + KnownLayout + Unaligned + 'a>(
    count: usize,
    x: &'a [f32],
    importance: Option<&'a [f32]>,
    dst: &'a mut [u8],
) -> impl Iterator<Item = Tile<'a, B>> {
    let x = x.as_chunks::<256>().0.chunks(count);
    let mut importance = importance.map(|importance| importance.as_chunks::<256>().0.chunks(count));
    x.zip(blocks_mut::<B>(dst).chunks_mut(count))
        .map(move |(x, blocks)| (x, importance.as_mut().and_then(Iterator::next), blocks))
}
