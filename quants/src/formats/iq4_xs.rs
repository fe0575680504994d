//! IQ4_XS: 4.25 bits a weight. As IQ4_NL, but the scales of 32 weights are six-bit multiples of a
//! super-block's scale.
//!
//! Block (256 weights, 136 bytes): f16 `d`; u16 with the scales' two high bits; 4 bytes with their four low
//! bits; 128 bytes of value indices as in IQ4_NL. A weight is `d·(scale − 32)·value`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute_ref};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::iq::{block_weights, part};
use crate::formats::iq4_nl::{codes, pack, unpack};
use crate::product::Row;
use crate::round::nearest_int;
use crate::search::kernel::{Kernel, Scalar};
use crate::search::{signed_extreme, sum_of_squares};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    scales_high: [u8; 2],
    scales_low: [u8; 4],
    qs: [[u8; 16]; 8],
}

/// Encodes whole blocks.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with::<Scalar>(x, importance, dst);
}

/// [`encode_row`] with the inner loops of an instruction set.
#[inline(always)]
pub(crate) fn encode_row_with<K: Kernel>(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    for (index, (x, block)) in x
        .as_chunks::<256>()
        .0
        .iter()
        .zip(blocks_mut::<Block>(dst))
        .enumerate()
    {
        let importance = part::<256>(importance, index).map(|part| &part[..]);
        let variance = sum_of_squares(x) * (2.0 / 256.0);
        let parts: &[[f32; 32]; 8] = transmute_ref!(x);
        let mut weights = [[0.0; 32]; 8];
        for (index, weights) in weights.iter_mut().enumerate() {
            *weights = block_weights(&parts[index], part::<32>(importance, index), variance, |x| x * x);
        }
        let mut scales = [0.0; 8];
        K::fit_nonlinear(parts, &weights, &mut scales);
        let d = -signed_extreme(&scales) / 32.0;
        block.d = Half::new(d);
        let inverse = if d != 0.0 { 1.0 / d } else { 0.0 };
        let mut high = 0u16;
        block.scales_low = [0; 4];
        for index in 0..8 {
            let multiple = nearest_int(inverse * scales[index]).clamp(-32, 31);
            block.qs[index] = pack(&parts[index], d * multiple as f32);
            let code = (multiple + 32) as u8;
            block.scales_low[index / 2] |= (code & 0xf) << (4 * (index % 2));
            high |= u16::from(code >> 4) << (2 * index);
        }
        block.scales_high = high.to_le_bytes();
    }
}

/// Decodes whole blocks.
#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
        let d = block.d.get();
        let high = u16::from_le_bytes(block.scales_high);
        for (index, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = block.scales_low[index / 2] >> (4 * (index % 2)) & 0xf;
            let code = low | ((high >> (2 * index) & 3) as u8) << 4;
            unpack(&block.qs[index], d * f32::from(code as i8 - 32), y);
        }
    }
}

#[inline(always)]
pub(crate) fn expand_row(src: &[u8], row: Row<'_>) {
    for (i, block) in blocks::<Block>(src).iter().enumerate() {
        let d = block.d.get();
        let high = u16::from_le_bytes(block.scales_high);
        for (index, qs) in block.qs.iter().enumerate() {
            let low = block.scales_low[index / 2] >> (4 * (index % 2)) & 0xf;
            let code = low | ((high >> (2 * index) & 3) as u8) << 4;
            row.scales[8 * i + index] = d * f32::from(code as i8 - 32);
            row.codes.as_chunks_mut().0[8 * i + index] = codes(qs);
        }
    }
}
