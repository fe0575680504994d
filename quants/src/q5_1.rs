//! Q5_1: blocks of 32 weights, a scale, a minimum and 5-bit levels.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{Half, blocks, blocks_mut};
use crate::levels::{pack_five_bits, unpack_five_bits};
use crate::round::truncate;
use crate::search::{FitAffine8, IMPORTANCE_CANDIDATES, error_weights, fit_affine_8, range, sum_of_squares};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    m: Half,
    qh: [u8; 4],
    qs: [u8; 16],
}

/// Without importance, the smallest and the largest weight become the first and the last level.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with(fit_affine_8, x, importance, dst);
}

/// [`encode_row`] with some instruction set's search.
pub(crate) fn encode_row_with(fit: FitAffine8<32>, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let x_blocks = x.as_chunks::<32>().0;
    let blocks = blocks_mut::<Block>(dst);
    let Some(importance) = importance else {
        return x_blocks
            .iter()
            .zip(blocks)
            .for_each(|(x, block)| encode_block(x, block));
    };
    let variance = sum_of_squares(x) / x.len() as f32;
    let importance = importance.as_chunks::<32>().0.chunks(8);
    let groups = x_blocks.chunks(8).zip(importance).zip(blocks.chunks_mut(8));
    for ((x, importance), blocks) in groups {
        // The last group may be partial: its other lanes are zero.
        let mut group = [[0.0; 32]; 8];
        let mut weights = [[0.0; 32]; 8];
        for (j, (x, importance)) in x.iter().zip(importance).enumerate() {
            group[j] = *x;
            weights[j] = error_weights(x, importance, variance);
        }
        let mut levels = [[0; 32]; 8];
        let fits = fit(&group, &weights, 31, IMPORTANCE_CANDIDATES, &mut levels);
        for ((block, fit), levels) in blocks.iter_mut().zip(fits).zip(&levels) {
            block.d = Half::new(fit.scale);
            block.m = Half::new(-fit.min);
            (block.qs, block.qh) = pack_five_bits(levels);
        }
    }
}

fn encode_block(x: &[f32; 32], block: &mut Block) {
    let (min, max) = range(x);
    let d = (max - min) / 31.0;
    let inverse = if d != 0.0 { 1.0 / d } else { 0.0 };
    block.d = Half::new(d);
    block.m = Half::new(min);
    (block.qs, block.qh) = pack_five_bits(&x.map(|x| truncate((x - min) * inverse + 0.5) as u8));
}

pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
        let (d, m) = (block.d.get(), block.m.get());
        *y = unpack_five_bits(&block.qs, block.qh).map(|q| f32::from(q) * d + m);
    }
}
