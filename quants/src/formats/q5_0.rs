//! Q5_0: blocks of 32 weights, a scale and 5-bit levels around 16.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::levels::{decode_five_bits, each, unpack_five_bits};
use crate::product::Row;
use crate::search::kernel::{Kernel, Scalar, TILE};
use crate::search::{error_weights, with_mean_squares};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    qh: [u8; 4],
    qs: [u8; 16],
}

/// Without importance, the weight of largest magnitude becomes level 0 (-16 steps) exactly.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with::<Scalar>(x, importance, dst);
}

/// [`encode_row`] with the inner loops of an instruction set.
#[inline(always)]
pub(crate) fn encode_row_with<K: Kernel>(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let blocks = blocks_mut::<Block>(dst);
    let Some(importance) = importance else {
        for (x, block) in x.as_chunks::<32>().0.iter().zip(blocks) {
            match K::finite_magnitude(x) {
                Some(_) => encode_block::<K>(x, block),
                None => encode_block::<Scalar>(x, block),
            }
        }
        return;
    };
    with_mean_squares(x, importance.len(), blocks, |x, variance, blocks| {
        encode_weighted::<K>(x, importance, variance, blocks);
    });
}

/// A row with importance.
#[inline(always)]
fn encode_weighted<K: Kernel>(x: &[f32], importance: &[f32], variance: f32, blocks: &mut [Block]) {
    let importance = importance.as_chunks::<32>().0.chunks(TILE);
    let tiles = x
        .as_chunks::<32>()
        .0
        .chunks(TILE)
        .zip(importance)
        .zip(blocks.chunks_mut(TILE));
    for ((x, importance), blocks) in tiles {
        let mut weights = [[0.0; 32]; TILE];
        for ((x, importance), weights) in x.iter().zip(importance).zip(&mut weights) {
            *weights = error_weights(x, importance, variance);
        }
        let mut levels = [[0; 32]; TILE];
        let mut scales = [0.0; TILE];
        let count = x.len();
        K::fit_symmetric(
            x,
            16,
            &weights[..count],
            &mut levels[..count],
            &mut scales[..count],
        );
        for ((block, scale), levels) in blocks.iter_mut().zip(scales).zip(&levels) {
            block.d = Half::new(scale);
            (block.qs, block.qh) = K::pack_five_bits(levels);
        }
    }
}

#[inline(always)]
fn encode_block<K: Kernel>(x: &[f32; 32], block: &mut Block) {
    let d = K::signed_extreme(x) / -16.0;
    let inverse = if d != 0.0 { 1.0 / d } else { 0.0 };
    [block.d] = Half::several::<K, 1>([d]);
    let levels = K::truncated_levels(x, 0.0, inverse, 16.5);
    (block.qs, block.qh) = K::pack_five_bits(&each(&levels, |level| (level as i8).min(31) as u8));
}

#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
        let d = block.d.get();
        decode_five_bits(&block.qs, block.qh, y, |q| (q - 16.0) * d);
    }
}

#[inline(always)]
pub(crate) fn expand_row(src: &[u8], row: Row<'_>) {
    for (i, block) in blocks::<Block>(src).iter().enumerate() {
        row.scales[i] = block.d.get();
        unpack_five_bits(&block.qs, block.qh, &mut row.codes.as_chunks_mut().0[i]);
    }
}
