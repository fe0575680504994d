//! IQ2_S: 2.5625 bits a weight. Eight weights are a point of a codebook of 1024 and eight signs; 16 weights
//! share a 4-bit scale.
//!
//! Block (256 weights, 82 bytes): f16 `d`; 32 low bytes of point indices; 32 sign bytes; 8 bytes with the
//! indices' two high bits; 8 bytes of two scales each. A weight is `d·(scale + ½)·¼·value·sign`.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::iq::{block_weights, part};
use crate::product::Row;
use crate::search::codebook::{self as grid, Fit, Refit, Search, fold_signs, sign, signed};
use crate::search::kernel::{Kernel, Scalar};
use crate::search::sum_of_squares;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    low: [u8; 32],
    signs: [u8; 32],
    /// Two bits for each index, lowest first.
    high: [u8; 8],
    scales: [u8; 8],
}

/// Blocks whose largest magnitude is below this are stored as nothing.
const NEGLIGIBLE: f32 = 1e-8;
const SEARCH: Search = Search {
    tries: 9,
    step: 0.1,
    refit: Refit::OnlyOff,
};

/// Encodes whole blocks.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with::<Scalar>(x, importance, dst);
}

/// [`encode_row`] with the inner loops of an instruction set.
#[inline(always)]
pub(crate) fn encode_row_with<K: Kernel>(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let grid = grid::iq2_s();
    for (index, (x, block)) in x
        .as_chunks::<256>()
        .0
        .iter()
        .zip(blocks_mut::<Block>(dst))
        .enumerate()
    {
        let importance = part::<256>(importance, index).map(|part| &part[..]);
        *block = Block::new_zeroed();
        let variance = 2.0 * sum_of_squares(x) / 256.0;
        let mut scales = [0.0; 16];
        let mut max_scale = 0.0f32;
        for (index, x) in x.as_chunks::<16>().0.iter().enumerate() {
            let weights = block_weights(x, part::<16>(importance, index), variance, |x| {
                0.25 * variance + x * x
            });
            let (groups, _) = x.as_chunks::<8>();
            let weights: [[f32; 8]; 2] = std::array::from_fn(|group| weights.as_chunks::<8>().0[group]);
            let mut magnitudes = [[0.0; 8]; 2];
            let mut signs = [0; 2];
            for group in 0..2 {
                signs[group] = fold_signs(&groups[group], &mut magnitudes[group]);
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
                let [low, high] = points[group].to_le_bytes();
                let at = 2 * index + group;
                block.low[at] = low;
                block.signs[at] = if inverted { !signs[group] } else { signs[group] };
                block.high[at / 4] |= high << (2 * (at % 4));
            }
            scales[index] = scale;
            max_scale = max_scale.max(scale);
        }
        if max_scale == 0.0 {
            continue;
        }
        let d = max_scale / 31.0;
        block.d = Half::new(d * 0.9875);
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
            let high = block.high[group / 4] >> (2 * (group % 4)) & 3;
            let point = &grid::IQ2_S[usize::from(u16::from_le_bytes([block.low[group], high]))];
            let signs = block.signs[group];
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
        for group in 0..32 {
            let code = block.scales[group / 4] >> (4 * (group / 2 % 2)) & 0xf;
            row.scales[16 * i + group / 2] = d * (0.5 + f32::from(code)) * 0.25;
            let high = block.high[group / 4] >> (2 * (group % 4)) & 3;
            let point = &grid::IQ2_S[usize::from(u16::from_le_bytes([block.low[group], high]))];
            row.codes.as_chunks_mut().0[32 * i + group] = signed(point, block.signs[group], grid::IQ2_ZERO);
        }
    }
}
