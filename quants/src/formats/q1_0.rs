//! Q1_0: 1.125 bits a weight. Signs; 128 weights share a scale, their mean magnitude.
//!
//! Block (128 weights, 18 bytes): f16 `d`; 16 bytes of eight signs, set for positive ones. A weight is `±d`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::levels::build;
use crate::product::Row;
use crate::search::kernel::{Pass, Scalar};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    signs: [u8; 16],
}

/// Encodes whole blocks; importance has no influence.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with::<Scalar>(x, importance, dst);
}

/// [`encode_row`] with an instruction set's operations.
#[inline(always)]
pub(crate) fn encode_row_with<K: Pass>(x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
    let blocks = blocks_mut::<Block>(dst);
    let (together, rest) = x.as_chunks::<{ 128 * SUMS }>();
    let (blocks_together, blocks_rest) = blocks.as_chunks_mut::<SUMS>();
    for (x, blocks) in together.iter().zip(blocks_together) {
        encode_blocks::<K, SUMS>(x, blocks);
    }
    for (x, block) in rest.chunks_exact(128).zip(blocks_rest) {
        encode_blocks::<K, 1>(x, std::array::from_mut(block));
    }
}

/// Blocks that are summed at the same time: the sums run in order, and each waits for its last addition.
const SUMS: usize = 8;

#[inline(always)]
fn encode_blocks<K: Pass, const B: usize>(x: &[f32], blocks: &mut [Block; B]) {
    let x = x.as_chunks::<128>().0;
    let mut sums = [0.0; B];
    for i in 0..128 {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += x[i].abs();
        }
    }
    for ((block, sum), x) in blocks.iter_mut().zip(sums).zip(x) {
        block.d = Half::new(sum / 128.0);
        block.signs = build(|i| K::not_negative(&x.as_chunks().0[i]));
    }
}

/// Decodes whole blocks.
#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<128>().0) {
        let d = block.d.get();
        for (signs, y) in block.signs.iter().zip(y.as_chunks_mut::<8>().0) {
            *y = build(|i| if signs >> i & 1 == 1 { d } else { -d });
        }
    }
}

/// Ones around 1, so that they come as 0 and 2.
#[inline(always)]
pub(crate) fn expand_row(src: &[u8], row: Row<'_>) {
    for (i, block) in blocks::<Block>(src).iter().enumerate() {
        row.scales[4 * i..][..4].fill(block.d.get());
        for (j, signs) in block.signs.iter().enumerate() {
            let codes: &mut [u8; 8] = &mut row.codes.as_chunks_mut().0[16 * i + j];
            *codes = build(|bit| 2 * (signs >> bit & 1));
        }
    }
}
