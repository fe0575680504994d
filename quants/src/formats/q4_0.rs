//! Q4_0: blocks of 32 weights, a scale and 4-bit levels around 8.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::levels::{decode_nibbles, each, pack_nibbles, unpack_nibbles};
use crate::product::Row;
use crate::search::kernel::{Kernel, Scalar, TILE};
use crate::search::{error_weights, with_mean_squares};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    qs: [u8; 16],
}

/// Without importance, the weight of largest magnitude becomes level 0 (-8 steps) exactly.
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
            8,
            &weights[..count],
            &mut levels[..count],
            &mut scales[..count],
        );
        for ((block, scale), levels) in blocks.iter_mut().zip(scales).zip(&levels) {
            block.d = Half::new(scale);
            block.qs = pack_nibbles(levels);
        }
    }
}

#[inline(always)]
fn encode_block<K: Kernel>(x: &[f32; 32], block: &mut Block) {
    let d = K::signed_extreme(x) / -8.0;
    let inverse = if d != 0.0 { 1.0 / d } else { 0.0 };
    [block.d] = Half::several::<K, 1>([d]);
    let levels = K::truncated_levels(x, 0.0, inverse, 8.5);
    block.qs = pack_nibbles(&each(&levels, |level| (level as i8).min(15) as u8));
}

#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
        let d = block.d.get();
        decode_nibbles(&block.qs, y, |q| (q - 8.0) * d);
    }
}

#[inline(always)]
pub(crate) fn expand_row(src: &[u8], row: Row<'_>) {
    for (i, block) in blocks::<Block>(src).iter().enumerate() {
        row.scales[i] = block.d.get();
        unpack_nibbles(&block.qs, &mut row.codes.as_chunks_mut().0[i]);
    }
}
