//! Q4_0: blocks of 32 weights, a scale and 4-bit levels around 8.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{Half, blocks, blocks_mut};
use crate::levels::{pack_nibbles, unpack_nibbles};
use crate::round::truncate;
use crate::search::{error_weights, fit_symmetric, signed_extreme, sum_of_squares};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    qs: [u8; 16],
}

/// Without importance, the weight of largest magnitude becomes level 0 (-8 steps) exactly.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let blocks = x.as_chunks::<32>().0.iter().zip(blocks_mut::<Block>(dst));
    let Some(importance) = importance else {
        return blocks.for_each(|(x, block)| encode_block(x, block));
    };
    let variance = sum_of_squares(x) / x.len() as f32;
    for ((x, block), importance) in blocks.zip(importance.as_chunks::<32>().0) {
        let weights = error_weights(x, importance, variance);
        let mut levels = [0; 32];
        block.d = Half::new(fit_symmetric(x, 8, &weights, &mut levels));
        block.qs = pack_nibbles(&levels);
    }
}

fn encode_block(x: &[f32; 32], block: &mut Block) {
    let d = signed_extreme(x) / -8.0;
    let inverse = if d != 0.0 { 1.0 / d } else { 0.0 };
    block.d = Half::new(d);
    block.qs = pack_nibbles(&x.map(|x| (truncate(x * inverse + 8.5) as i8).min(15) as u8));
}

pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
        let d = block.d.get();
        *y = unpack_nibbles(&block.qs).map(|q| (f32::from(q) - 8.0) * d);
    }
}
