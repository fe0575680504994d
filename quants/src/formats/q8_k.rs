//! Q8_1 and Q8_K, the formats of activations between ggml's products. Files do not store them, and
//! ggml offers no encoder for weights; they are only read here.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BlockQ81 {
    d: Half,
    /// `d` times the sum of the levels.
    s: Half,
    qs: [i8; 32],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BlockQ8K {
    d: [u8; 4],
    qs: [i8; 256],
    /// Sums of sixteen levels each.
    bsums: [[u8; 2]; 16],
}

pub(crate) fn decode_row_q8_1(src: &[u8], dst: &mut [f32]) {
    let blocks = blocks::<BlockQ81>(src).iter();
    for (block, y) in blocks.zip(dst.as_chunks_mut::<32>().0) {
        let d = block.d.get();
        *y = block.qs.map(|q| f32::from(q) * d);
    }
}

#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    let blocks = blocks::<BlockQ8K>(src).iter();
    for (block, y) in blocks.zip(dst.as_chunks_mut::<256>().0) {
        let d = f32::from_le_bytes(block.d);
        *y = block.qs.map(|q| d * f32::from(q));
    }
}
