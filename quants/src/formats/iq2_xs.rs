//! IQ2_XS: 2.3125 bits a weight. Eight weights are a point of a codebook of 512 and seven signs; 16 weights
//! share a 4-bit scale.
//!
//! Block (256 weights, 74 bytes): f16 `d`; for each eight weights a u16, nine bits of point index below seven
//! of sign code; for each 32 weights a byte of two scales. A weight is `d·(scale + ½)·¼·value·sign`.

use gguf::TensorType;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use crate::formats::block::{Half, blocks};
use crate::formats::format::{Decode, Encode, Expand, Importance, Rounding, Row};
use crate::formats::iq::super_blocks;
use crate::isa::InstructionSet;
use crate::levels::{build, each};
use crate::reduce::NEGLIGIBLE;
use crate::search::codebook::{self, Fit, Refit, SIGNS, Search, fold_signs_even, signed, with_signs};

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

/// [`TensorType::IQ2_XS`].
pub(crate) struct IQ2_XS;

impl Decode for IQ2_XS {
    const TYPE: TensorType = TensorType::IQ2_XS;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            for (pair, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let code = block.scales[pair / 2] >> (4 * (pair % 2)) & 0xf;
                let scale = d * (0.5 + f32::from(code)) * 0.25;
                let values: [[i8; 8]; 2] = build(|group| {
                    let word = u16::from_le_bytes(block.groups[2 * pair + group]);
                    with_signs(
                        codebook::IQ2_XS[usize::from(word & 0x1ff)],
                        SIGNS[usize::from(word >> 9)],
                    )
                });
                *y = each(&transmute!(values), |value: i8| scale * f32::from(value));
            }
        }
    }
}

impl Encode for IQ2_XS {
    const IMPORTANCE: Importance = Importance::Required;

    /// Encodes whole blocks. The format is meant for use with importance; without, x² stands in for it.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let grid = codebook::iq2_xs();
        for (super_block, block) in super_blocks::<Block>(x, importance, |sum| sum / 256.0, dst) {
            let x = super_block.x;
            let mut scales = [0.0; 16];
            let mut max_scale = 0.0f32;
            for (index, x) in x.as_chunks::<16>().0.iter().enumerate() {
                let weights = super_block.weights::<16>(index, |x| x * x);
                let (groups, _) = x.as_chunks::<8>();
                let weights: [[f32; 8]; 2] = std::array::from_fn(|group| weights.as_chunks::<8>().0[group]);
                let mut magnitudes = [[0.0; 8]; 2];
                let mut signs = [0; 2];
                for group in 0..2 {
                    signs[group] =
                        fold_signs_even(isa, &groups[group], &weights[group], &mut magnitudes[group]);
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
                block.zero();
                continue;
            }
            let d = max_scale / 31.0;
            block.d = Half::new(d);
            let codes = codebook::quantize_scales(&scales, d, 15);
            for (byte, codes) in block.scales.iter_mut().zip(codes.as_chunks::<2>().0) {
                *byte = codes[0] | codes[1] << 4;
            }
        }
    }
}

impl Expand for IQ2_XS {
    const GROUP: usize = 16;
    const ZERO: u8 = codebook::IQ2_ZERO;
    const ROUNDING: Rounding = Rounding::Q8K;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            for (group, word) in block.groups.iter().enumerate() {
                let code = block.scales[group / 4] >> (4 * (group / 2 % 2)) & 0xf;
                row.scales[16 * i + group / 2] = d * (0.5 + f32::from(code)) * 0.25;
                let word = u16::from_le_bytes(*word);
                let point = &codebook::IQ2_XS[usize::from(word & 0x1ff)];
                let signs = SIGNS[usize::from(word >> 9)];
                row.codes.as_chunks_mut().0[32 * i + group] = signed(point, signs, codebook::IQ2_ZERO);
            }
        }
    }
}
