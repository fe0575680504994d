//! Q1_0: 1.125 bits a weight. Signs; 128 weights share a scale, their mean magnitude.
//!
//! Block (128 weights, 18 bytes): f16 `d`; 16 bytes of eight signs, set for positive ones. A weight is `±d`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::isa::InstructionSet;
use crate::levels::build;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    signs: [u8; 16],
}

/// [`TensorType::Q1_0`].
pub(crate) struct Q1_0;

impl Decode for Q1_0 {
    const TYPE: TensorType = TensorType::Q1_0;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<128>().0) {
            let d = block.d.get();
            for (signs, y) in block.signs.iter().zip(y.as_chunks_mut::<8>().0) {
                *y = build(|i| if signs >> i & 1 == 1 { d } else { -d });
            }
        }
    }
}

impl Encode for Q1_0 {
    /// Encodes whole blocks; importance has no influence.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        let blocks = blocks_mut::<Block>(dst);
        let (together, rest) = x.as_chunks::<{ 128 * SUMS }>();
        let (blocks_together, blocks_rest) = blocks.as_chunks_mut::<SUMS>();
        for (x, blocks) in together.iter().zip(blocks_together) {
            encode_blocks::<_, SUMS>(isa, x, blocks);
        }
        for (x, block) in rest.chunks_exact(128).zip(blocks_rest) {
            encode_blocks::<_, 1>(isa, x, std::array::from_mut(block));
        }
    }
}

impl Expand for Q1_0 {
    const GROUP: usize = 32;
    const ZERO: u8 = 1;
    const ROUNDING: Rounding = Rounding::Q8_0;

    /// Ones around 1, so that they come as 0 and 2.
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            row.scales[4 * i..][..4].fill(block.d.get());
            for (j, signs) in block.signs.iter().enumerate() {
                let codes: &mut [u8; 8] = &mut row.codes.as_chunks_mut().0[16 * i + j];
                *codes = build(|bit| 2 * (signs >> bit & 1));
            }
        }
    }
}

/// Blocks that are summed at the same time: the sums run in order, and each waits for its last addition.
const SUMS: usize = 8;

#[inline(always)]
fn encode_blocks<I: InstructionSet, const B: usize>(isa: I, x: &[f32], blocks: &mut [Block; B]) {
    let x = x.as_chunks::<128>().0;
    let mut sums = [0.0; B];
    // Two columns at a time: of one the compiler makes gathers where it has AVX-512, at half the speed.
    for first in (0..128).step_by(2) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = x[first..first + 2].iter().fold(*sum, |sum, x| sum + x.abs());
        }
    }
    for ((block, sum), x) in blocks.iter_mut().zip(sums).zip(x) {
        block.d = Half::new(sum / 128.0);
        block.signs = build(|i| isa.not_negative(&x.as_chunks().0[i]));
    }
}
