//! IQ2_XS: 2.3125 bits a weight. Eight weights are a point of a codebook of 512 and seven signs; 16 weights
//! share a 4-bit scale.
//!
//! Block (256 weights, 74 bytes): f16 `d`; for each eight weights a u16, nine bits of point index below seven
//! of sign code; for each 32 weights a byte of two scales. A weight is `d·(scale + ½)·¼·value·sign`.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

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
    /// Point index below the sign code.
    groups: [[u8; 2]; 32],
    scales: [u8; 8],
}

const SEARCH: Search = Search {
    tries: 9,
    step: 0.1,
    refit: Refit::OnlyOff,
};

/// Encodes whole blocks. The format is meant for use with importance; without, x² stands in for it.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with::<Scalar>(x, importance, dst);
}

/// [`encode_row`] with the inner loops of an instruction set.
#[inline(always)]
pub(crate) fn encode_row_with<K: Kernel>(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let grid = grid::iq2_xs();
    for (index, (x, block)) in x
        .as_chunks::<256>()
        .0
        .iter()
        .zip(blocks_mut::<Block>(dst))
        .enumerate()
    {
        let importance = part::<256>(importance, index).map(|part| &part[..]);
        *block = Block::new_zeroed();
        let variance = sum_of_squares(x) / 256.0;
        let mut scales = [0.0; 16];
        let mut max_scale = 0.0f32;
        for (index, x) in x.as_chunks::<16>().0.iter().enumerate() {
            let weights = block_weights(x, part::<16>(importance, index), variance, |x| x * x);
            let (groups, _) = x.as_chunks::<8>();
            let weights: [[f32; 8]; 2] = std::array::from_fn(|group| weights.as_chunks::<8>().0[group]);
            let mut magnitudes = [[0.0; 8]; 2];
            let mut signs = [0; 2];
            for group in 0..2 {
                signs[group] = fold_signs_even(&groups[group], &weights[group], &mut magnitudes[group]);
            }
            let max = grid::largest(magnitudes.as_flattened());
            if max < NEGLIGIBLE {
                continue;
            }
            let Fit {
                scale,
                points,
                inverted,
            } = grid::fit::<K, _, _, 24>(grid, SEARCH, &magnitudes, &weights, max, max / 5.0);
            for group in 0..2 {
                let code = if inverted {
                    !signs[group] & 0x7f
                } else {
                    signs[group]
                };
                let word = points[group] | u16::from(code) << 9;
                block.groups[2 * index + group] = word.to_le_bytes();
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
        for (byte, codes) in block.scales.iter_mut().zip(codes.as_chunks::<2>().0) {
            *byte = codes[0] | codes[1] << 4;
        }
    }
}

/// Decodes whole blocks.
#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
        let d = block.d.get();
        for (group, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let code = block.scales[group / 4] >> (4 * (group / 2 % 2)) & 0xf;
            let scale = d * (0.5 + f32::from(code)) * 0.25;
            let word = u16::from_le_bytes(block.groups[group]);
            let point = &grid::IQ2_XS[usize::from(word & 0x1ff)];
            let signs = SIGNS[usize::from(word >> 9)];
            for axis in 0..8 {
                y[axis] = scale * f32::from(point[axis]) * sign(signs, axis);
            }
        }
    }
}

#[inline(always)]
pub(crate) fn expand_row(src: &[u8], row: Row<'_>) {
    for (i, block) in blocks::<Block>(src).iter().enumerate() {
        let d = block.d.get();
        for (group, word) in block.groups.iter().enumerate() {
            let code = block.scales[group / 4] >> (4 * (group / 2 % 2)) & 0xf;
            row.scales[16 * i + group / 2] = d * (0.5 + f32::from(code)) * 0.25;
            let word = u16::from_le_bytes(*word);
            let point = &grid::IQ2_XS[usize::from(word & 0x1ff)];
            let signs = SIGNS[usize::from(word >> 9)];
            row.codes.as_chunks_mut().0[32 * i + group] = signed(point, signs, grid::IQ2_ZERO);
        }
    }
}
