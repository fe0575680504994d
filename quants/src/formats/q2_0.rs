//! Q2_0: 2.25 bits a weight. Levels -1, 0, 1 and 2; 64 weights share a scale, their largest magnitude.
//!
//! Block (64 weights, 18 bytes): f16 `d`; 16 bytes of four levels, raised by one. A weight is `d·level`. The
//! encoder, like ggml's, never uses level 2.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::isa::{InstructionSet, Scalar};
use crate::levels::{build, each};
use crate::round::nearest_away_level;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    /// Level `n` of byte `m` is weight `4·m + n`.
    qs: [u8; 16],
}

/// [`TensorType::Q2_0`].
pub(crate) struct Q2_0;

impl Decode for Q2_0 {
    const TYPE: TensorType = TensorType::Q2_0;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<64>().0) {
            let d = block.d.get();
            for (byte, y) in block.qs.iter().zip(y.as_chunks_mut::<4>().0) {
                *y = build(|i| f32::from((byte >> (2 * i) & 3) as i8 - 1) * d);
            }
        }
    }
}

impl Encode for Q2_0 {
    fn handles_non_finite(_with_importance: bool) -> bool {
        true
    }

    /// Encodes whole blocks; importance has no influence.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        for (x, block) in x.as_chunks::<64>().0.iter().zip(blocks_mut::<Block>(dst)) {
            match isa.finite_magnitude(x) {
                Some(largest) => encode_block(isa, x, largest, block),
                None => {
                    let largest = x
                        .iter()
                        .fold(0.0, |max, x| if x.abs() > max { x.abs() } else { max });
                    encode_block(Scalar, x, largest, block);
                }
            }
        }
    }
}

impl Expand for Q2_0 {
    const GROUP: usize = 32;
    const ZERO: u8 = 1;
    const LARGEST: u8 = 3;
    const ROUNDING: Rounding = Rounding::Q8_0;

    /// Levels around 1.
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            row.scales[2 * i..][..2].fill(block.d.get());
            for (j, byte) in block.qs.iter().enumerate() {
                let codes: &mut [u8; 4] = &mut row.codes.as_chunks_mut().0[16 * i + j];
                *codes = build(|level| byte >> (2 * level) & 3);
            }
        }
    }
}

#[inline(always)]
fn encode_block<I: InstructionSet>(isa: I, x: &[f32; 64], d: f32, block: &mut Block) {
    let inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
    [block.d] = Half::several(isa, [d]);
    let levels = if inverse.is_finite() {
        each(&isa.nearest_away_levels(x, inverse), |level| {
            level.clamp(-1, 2) + 1
        })
    } else {
        each(x, |x| (nearest_away_level(x * inverse).clamp(-1, 2) + 1) as i8)
    };
    block.qs = build(|i| (0..4).map(|n| (levels[4 * i + n] as u8) << (2 * n)).sum());
}
