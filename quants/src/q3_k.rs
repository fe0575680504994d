//! Q3_K: super-blocks of 16 sub-blocks of 16 weights, 6-bit scales, 3-bit levels around 4.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute, transmute_mut, transmute_ref,
};

use crate::block::{Half, blocks, blocks_mut};
use crate::kernel::{Kernel, Scalar};
use crate::levels::{pack_two_bits, unpack_two_bits};
use crate::round::nearest_int;
use crate::search::{error_weights, refine_symmetric, signed_extreme, sum, sum_of_squares};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    /// The high bit of level `i` is bit `i / 32` of byte `i % 32`.
    hmask: [u8; 32],
    /// The low two bits of the levels.
    qs: [u8; 64],
    scales: [u8; 12],
    d: Half,
}

/// Sixteen 6-bit scales around 32: the low nibbles of scales `j` and `8 + j` in byte `j`, their
/// upper two bits, four to a byte, in the last four bytes.
fn pack_scales(scales: &[u8; 16]) -> [u8; 12] {
    std::array::from_fn(|i| match i {
        0..8 => scales[i] & 15 | (scales[8 + i] & 15) << 4,
        _ => (0..4).fold(0, |byte, j| byte | scales[i - 8 + 4 * j] >> 4 << (2 * j)),
    })
}

fn unpack_scales(bytes: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|j| {
        let low = bytes[j % 8] >> (j / 8 * 4) & 15;
        let high = bytes[8 + j % 4] >> (j / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}

pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with::<Scalar>(x, importance, dst);
}

/// [`encode_row`] with the inner loops of an instruction set.
#[inline(always)]
pub(crate) fn encode_row_with<K: Kernel>(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let mut importance = importance.map(|importance| importance.as_chunks::<256>().0.iter());
    let blocks = blocks_mut::<Block>(dst).iter_mut();
    for (x, block) in x.as_chunks::<256>().0.iter().zip(blocks) {
        let mut levels = [0; 256];
        match importance.as_mut().and_then(Iterator::next) {
            None => fit_plain::<K>(x, block, &mut levels),
            Some(importance) => fit_with_importance::<K>(x, importance, block, &mut levels),
        }
        let d = block.d.get();
        let sub_blocks = x.as_chunks::<16>().0.iter();
        for ((x, scale), levels) in sub_blocks
            .zip(unpack_scales(&block.scales))
            .zip(levels.as_chunks_mut::<16>().0)
        {
            refine_symmetric(x, d * f32::from(scale), 4, levels);
        }
        block.hmask = [0; 32];
        for (i, level) in levels.iter_mut().enumerate() {
            block.hmask[i % 32] |= (*level >> 2) << (i / 32);
            *level &= 3;
        }
        block.qs = pack_two_bits(&levels);
    }
}

/// The scale of largest magnitude becomes -32 steps.
#[inline(always)]
fn fit_plain<K: Kernel>(x: &[f32; 256], block: &mut Block, levels: &mut [u8; 256]) {
    let x: &[[f32; 16]; 16] = transmute_ref!(x);
    let levels: &mut [[u8; 16]; 16] = transmute_mut!(levels);
    let mut scales = [0.0; 16];
    K::descend_symmetric(x, 4, levels, &mut scales);
    let extreme = signed_extreme(&scales);
    if extreme != 0.0 {
        let inverse = -32.0 / extreme;
        block.scales = pack_scales(&scales.map(|scale| {
            let level = nearest_int(inverse * scale) as i8;
            (level.clamp(-32, 31) + 32) as u8
        }));
        block.d = Half::new(1.0 / inverse);
    } else {
        block.scales = [0; 12];
        block.d = Half::ZERO;
    }
}

/// Scales are fitted with the weight of their sub-blocks.
#[inline(always)]
fn fit_with_importance<K: Kernel>(
    x: &[f32; 256],
    importance: &[f32; 256],
    block: &mut Block,
    levels: &mut [u8; 256],
) {
    let variance = 2.0 * sum_of_squares(x) / 256.0;
    let weights = error_weights(x, importance, variance);
    let totals: [f32; 16] = std::array::from_fn(|j| sum(&weights[16 * j..][..16]));
    let weights: [[f32; 16]; 16] = transmute!(weights);
    let x: &[[f32; 16]; 16] = transmute_ref!(x);
    let levels: &mut [[u8; 16]; 16] = transmute_mut!(levels);
    let mut scales = [[0.0; 16]];
    K::fit_symmetric(x, 4, &weights, levels, &mut scales[0]);
    let mut scale_levels = [[0; 16]];
    let mut d = [0.0];
    K::fit_symmetric(&scales, 32, &[totals], &mut scale_levels, &mut d);
    block.d = Half::new(d[0]);
    block.scales = pack_scales(&scale_levels[0]);
}

#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
        let d = block.d.get();
        let scales = unpack_scales(&block.scales);
        for (j, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(scales[j]);
            let low = unpack_two_bits(&block.qs, j);
            let high = &block.hmask[j % 2 * 16..][..16];
            for i in 0..16 {
                let level = low[i] | (high[i] >> (j / 2) & 1) << 2;
                y[i] = scale * (f32::from(level) - 4.0);
            }
        }
    }
}
