//! Q1_0: 1.125 bits a weight. Signs; 128 weights share a scale, their mean magnitude.
//!
//! Block (128 weights, 18 bytes): f16 `d`; 16 bytes of eight signs, set for positive ones. A weight is `±d`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{Half, blocks, blocks_mut};
use crate::levels::build;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    signs: [u8; 16],
}

/// Encodes whole blocks; importance has no influence.
#[inline(always)]
pub(crate) fn encode_row(x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
    for (x, block) in x.as_chunks::<128>().0.iter().zip(blocks_mut::<Block>(dst)) {
        let sum = x.iter().fold(0.0, |sum, x| sum + x.abs());
        block.d = Half::new(sum / 128.0);
        for (x, signs) in x.as_chunks::<8>().0.iter().zip(&mut block.signs) {
            *signs = (0..8).map(|i| u8::from(x[i] >= 0.0) << i).sum();
        }
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
