//! IQ2_XXS: 2.0625 bits a weight. Eight weights are a point of a codebook of 256 and seven signs; 32 weights
//! share a 4-bit scale.
//!
//! Block (256 weights, 66 bytes): f16 `d`; for each 32 weights four bytes of point indices and a u32 of four
//! 7-bit sign codes below the scale. A weight is `d·(scale + ½)·¼·value·sign`.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute_ref};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::iq::{block_weights, part};
use crate::product::Row;
use crate::search::codebook::{self as grid, Fit, Refit, SIGNS, Search, fold_signs_even, sign, signed};
use crate::search::kernel::{Kernel, Scalar};
use crate::search::{NEGLIGIBLE, sum_of_squares};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    parts: [Part; 8],
}

/// 32 weights.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Part {
    points: [u8; 4],
    /// Four sign codes below the scale.
    word: [u8; 4],
}

const SEARCH: Search = Search {
    tries: 6,
    step: 0.1,
    refit: Refit::Always,
};

/// Encodes whole blocks. The format is meant for use with importance; without, x² stands in for it.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with::<Scalar>(x, importance, dst);
}

/// [`encode_row`] with the inner loops of an instruction set.
#[inline(always)]
pub(crate) fn encode_row_with<K: Kernel>(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let grid = grid::iq2_xxs();
    for (index, (x, block)) in x
        .as_chunks::<256>()
        .0
        .iter()
        .zip(blocks_mut::<Block>(dst))
        .enumerate()
    {
        let importance = part::<256>(importance, index).map(|part| &part[..]);
        let variance = sum_of_squares(x) / 256.0;
        *block = Block::new_zeroed();
        let mut words = [0u32; 8];
        let mut scales = [0.0; 8];
        let mut max_scale = 0.0f32;
        let mut weights = [[0.0; 32]; 8];
        let mut magnitudes = [[0.0; 32]; 8];
        let mut signs = [[0; 4]; 8];
        for (index, x) in x.as_chunks::<32>().0.iter().enumerate() {
            weights[index] = block_weights(x, part::<32>(importance, index), variance, |x| x * x);
            let groups = x.as_chunks::<8>().0.iter().zip(weights[index].as_chunks::<8>().0);
            let folded = magnitudes[index]
                .as_chunks_mut::<8>()
                .0
                .iter_mut()
                .zip(&mut signs[index]);
            for ((x, weights), (magnitudes, signs)) in groups.zip(folded) {
                *signs = fold_signs_even(x, weights, magnitudes);
            }
        }
        let mut firsts = [0.0; 8];
        K::fit_positive(&magnitudes, 4, &weights, &mut [[0; 32]; 8], &mut firsts);
        for index in 0..8 {
            let (first, signs) = (firsts[index], signs[index]);
            if grid::largest(&magnitudes[index]) < NEGLIGIBLE {
                continue;
            }
            let reach = first * 3.0;
            if reach <= 0.0 {
                continue;
            }
            let magnitudes: &[[f32; 8]; 4] = transmute_ref!(&magnitudes[index]);
            let weight_groups: &[[f32; 8]; 4] = transmute_ref!(&weights[index]);
            let Fit {
                scale,
                points,
                inverted,
            } = grid::fit::<K, _, _, 16>(grid, SEARCH, magnitudes, weight_groups, reach, first);
            for group in 0..4 {
                let code = if inverted {
                    !signs[group] & 0x7f
                } else {
                    signs[group]
                };
                block.parts[index].points[group] = points[group] as u8;
                words[index] |= u32::from(code) << (7 * group);
            }
            scales[index] = scale;
            max_scale = max_scale.max(scale);
        }
        if max_scale == 0.0 {
            *block = Block::new_zeroed();
            continue;
        }
        let d = max_scale / 31.0;
        block.d = Half::new(d);
        let codes = grid::quantize_scales(&scales, d, 15);
        for ((part, word), code) in block.parts.iter_mut().zip(words).zip(codes) {
            part.word = (word | u32::from(code) << 28).to_le_bytes();
        }
    }
}

/// Decodes whole blocks.
#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
        let d = block.d.get();
        for (part, y) in block.parts.iter().zip(y.as_chunks_mut::<32>().0) {
            let word = u32::from_le_bytes(part.word);
            let scale = d * (0.5 + (word >> 28) as f32) * 0.25;
            for (group, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let point = &grid::IQ2_XXS[usize::from(part.points[group])];
                let signs = SIGNS[(word >> (7 * group) & 0x7f) as usize];
                for axis in 0..8 {
                    y[axis] = scale * f32::from(point[axis]) * sign(signs, axis);
                }
            }
        }
    }
}

#[inline(always)]
pub(crate) fn expand_row(src: &[u8], row: Row<'_>) {
    for (i, block) in blocks::<Block>(src).iter().enumerate() {
        let d = block.d.get();
        for (index, part) in block.parts.iter().enumerate() {
            let word = u32::from_le_bytes(part.word);
            row.scales[8 * i + index] = d * (0.5 + (word >> 28) as f32) * 0.25;
            for (group, point) in part.points.iter().enumerate() {
                let point = &grid::IQ2_XXS[usize::from(*point)];
                let signs = SIGNS[(word >> (7 * group) & 0x7f) as usize];
                row.codes.as_chunks_mut().0[32 * i + 4 * index + group] =
                    signed(point, signs, grid::IQ2_ZERO);
            }
        }
    }
}
