//! Q8_0: blocks of 32 weights, a scale and signed bytes.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::isa::{InstructionSet, Scalar};
use crate::levels::each;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    qs: [i8; 32],
}

/// [`TensorType::Q8_0`].
pub(crate) struct Q8_0;

impl Decode for Q8_0 {
    const TYPE: TensorType = TensorType::Q8_0;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
            let d = block.d.get();
            for (y, q) in y.iter_mut().zip(&block.qs) {
                *y = f32::from(*q) * d;
            }
        }
    }
}

impl Encode for Q8_0 {
    fn handles_non_finite(_with_importance: bool) -> bool {
        true
    }

    /// The scale makes the largest magnitude 127. Importance has no influence.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        for (x, block) in x.as_chunks::<32>().0.iter().zip(blocks_mut::<Block>(dst)) {
            match isa.finite_magnitude(x) {
                Some(largest) => encode_block(isa, x, largest, block),
                None => {
                    let largest = x.iter().fold(0.0_f32, |largest, x| {
                        let magnitude = x.abs();
                        if largest > magnitude { largest } else { magnitude }
                    });
                    encode_block(Scalar, x, largest, block);
                }
            }
        }
    }
}

impl Expand for Q8_0 {
    const GROUP: usize = 32;
    const ZERO: u8 = 128;
    const LARGEST: u8 = 255;
    const ROUNDING: Rounding = Rounding::Q8_0;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            row.scales[i] = block.d.get();
            let codes: &mut [u8; 32] = &mut row.codes.as_chunks_mut().0[i];
            *codes = each(&block.qs, |q| q as u8 ^ 0x80);
        }
    }
}

#[inline(always)]
fn encode_block<I: InstructionSet>(isa: I, x: &[f32; 32], largest: f32, block: &mut Block) {
    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    [block.d] = Half::several(isa, [d]);
    block.qs = isa.nearest_away_levels(x, inverse);
}
