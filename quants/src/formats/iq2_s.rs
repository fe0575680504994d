//! IQ2_S: 2.5625 bits a weight. Eight weights are a point of a codebook of 1024 and eight signs; 16 weights
//! share a 4-bit scale.
//!
//! Block (256 weights, 82 bytes): f16 `d`; 32 low bytes of point indices; 32 sign bytes; 8 bytes with the
//! indices' two high bits; 8 bytes of two scales each. A weight is `d·(scale + ½)·¼·value·sign`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use crate::formats::block::{Half, blocks};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::iq::super_blocks;
use crate::isa::InstructionSet;
use crate::levels::{build, each};
use crate::search::codebook::{self, Fit, Refit, Search, fold_signs, signed, with_signs};

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

/// [`TensorType::IQ2_S`].
pub(crate) struct IQ2_S;

impl Decode for IQ2_S {
    const TYPE: TensorType = TensorType::IQ2_S;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            for (pair, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let code = block.scales[pair / 2] >> (4 * (pair % 2)) & 0xf;
                let scale = d * (0.5 + f32::from(code)) * 0.25;
                let values: [[i8; 8]; 2] = build(|group| {
                    let group = 2 * pair + group;
                    let high = block.high[group / 4] >> (2 * (group % 4)) & 3;
                    let point = codebook::IQ2_S[usize::from(u16::from_le_bytes([block.low[group], high]))];
                    with_signs(point, block.signs[group])
                });
                *y = each(&transmute!(values), |value: i8| scale * f32::from(value));
            }
        }
    }
}

impl Encode for IQ2_S {
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let grid = codebook::iq2_s();
        for (super_block, block) in super_blocks::<Block>(x, importance, |sum| 2.0 * sum / 256.0, dst) {
            let x = super_block.x;
            let mut scales = [0.0; 16];
            let mut max_scale = 0.0f32;
            for (index, x) in x.as_chunks::<16>().0.iter().enumerate() {
                let weights = super_block.weights::<16>(index, |x| 0.25 * super_block.variance + x * x);
                let (groups, _) = x.as_chunks::<8>();
                let weights: [[f32; 8]; 2] = std::array::from_fn(|group| weights.as_chunks::<8>().0[group]);
                let mut magnitudes = [[0.0; 8]; 2];
                let mut signs = [0; 2];
                for group in 0..2 {
                    signs[group] = fold_signs(isa, &groups[group], &mut magnitudes[group]);
                }
                let max = codebook::largest(magnitudes.as_flattened());
                if max < NEGLIGIBLE {
                    continue;
                }
                let Fit {
                    scale,
                    points,
                    inverted,
                } = codebook::fit::<_, _, _, 24>(isa, grid, SEARCH, &magnitudes, &weights, max, max / 5.0);
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
            let codes = codebook::quantize_scales(&scales, d, 15);
            for (byte, codes) in block.scales.iter_mut().zip(codes.as_chunks::<2>().0) {
                *byte = codes[0] | codes[1] << 4;
            }
        }
    }
}

impl Expand for IQ2_S {
    const GROUP: usize = 16;
    const ZERO: u8 = codebook::IQ2_ZERO;
    const ROUNDING: Rounding = Rounding::Q8K;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            for group in 0..32 {
                let code = block.scales[group / 4] >> (4 * (group / 2 % 2)) & 0xf;
                row.scales[16 * i + group / 2] = d * (0.5 + f32::from(code)) * 0.25;
                let high = block.high[group / 4] >> (2 * (group % 4)) & 3;
                let point = &codebook::IQ2_S[usize::from(u16::from_le_bytes([block.low[group], high]))];
                row.codes.as_chunks_mut().0[32 * i + group] =
                    signed(point, block.signs[group], codebook::IQ2_ZERO);
            }
        }
    }
}
