//! IQ2_XXS: 2.0625 bits a weight. Eight weights are a point of a codebook of 256 and seven signs; 32 weights
//! share a 4-bit scale.
//!
//! Block (256 weights, 66 bytes): f16 `d`; for each 32 weights four bytes of point indices and a u32 of four
//! 7-bit sign codes below the scale. A weight is `d·(scale + ½)·¼·value·sign`.

use gguf::TensorType;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute, transmute_ref,
};

use crate::formats::block::{Half, blocks};
use crate::formats::format::{Decode, Encode, Expand, Importance, Rounding, Row};
use crate::formats::iq::super_blocks;
use crate::isa::InstructionSet;
use crate::levels::{build, each};
use crate::reduce::NEGLIGIBLE;
use crate::search::codebook::{self, Fit, Refit, SIGNS, Search, fold_signs_even, signed, with_signs};
use crate::search::positive;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    parts: [Part; 8],
}

const SEARCH: Search = Search {
    tries: 6,
    step: 0.1,
    refit: Refit::Always,
};

/// 32 weights.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Part {
    points: [u8; 4],
    /// Four sign codes below the scale.
    word: [u8; 4],
}

/// [`TensorType::IQ2_XXS`].
pub(crate) struct IQ2_XXS;

impl Decode for IQ2_XXS {
    const TYPE: TensorType = TensorType::IQ2_XXS;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            for (part, y) in block.parts.iter().zip(y.as_chunks_mut::<32>().0) {
                let word = u32::from_le_bytes(part.word);
                let scale = d * (0.5 + (word >> 28) as f32) * 0.25;
                let values: [[i8; 8]; 4] = build(|group| {
                    let point = codebook::IQ2_XXS[usize::from(part.points[group])];
                    with_signs(point, SIGNS[(word >> (7 * group) & 0x7f) as usize])
                });
                *y = each(&transmute!(values), |value: i8| scale * f32::from(value));
            }
        }
    }
}

impl Encode for IQ2_XXS {
    const IMPORTANCE: Importance = Importance::Required;

    /// Encodes whole blocks. The format is meant for use with importance; without, x² stands in for it.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let grid = codebook::iq2_xxs();
        for (super_block, block) in super_blocks::<Block>(x, importance, |sum| sum / 256.0, dst) {
            let x = super_block.x;
            let mut words = [0u32; 8];
            let mut scales = [0.0; 8];
            let mut max_scale = 0.0f32;
            let mut weights = [[0.0; 32]; 8];
            let mut magnitudes = [[0.0; 32]; 8];
            let mut signs = [[0; 4]; 8];
            for (index, x) in x.as_chunks::<32>().0.iter().enumerate() {
                weights[index] = super_block.weights::<32>(index, |x| x * x);
                let groups = x.as_chunks::<8>().0.iter().zip(weights[index].as_chunks::<8>().0);
                let folded = magnitudes[index]
                    .as_chunks_mut::<8>()
                    .0
                    .iter_mut()
                    .zip(&mut signs[index]);
                for ((x, weights), (magnitudes, signs)) in groups.zip(folded) {
                    *signs = fold_signs_even(isa, x, weights, magnitudes);
                }
            }
            let mut firsts = [0.0; 8];
            isa.run(positive::Fit {
                x: &magnitudes,
                max_level: 4,
                weights: &weights,
                levels: &mut [[0; 32]; 8],
                scales: &mut firsts,
            });
            for index in 0..8 {
                let (first, signs) = (firsts[index], signs[index]);
                if codebook::largest(&magnitudes[index]) < NEGLIGIBLE {
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
                } = codebook::fit::<_, _, _, 16>(isa, grid, SEARCH, magnitudes, weight_groups, reach, first);
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
                block.zero();
                continue;
            }
            let d = max_scale / 31.0;
            block.d = Half::new(d);
            let codes = codebook::quantize_scales(&scales, d, 15);
            for ((part, word), code) in block.parts.iter_mut().zip(words).zip(codes) {
                part.word = (word | u32::from(code) << 28).to_le_bytes();
            }
        }
    }
}

impl Expand for IQ2_XXS {
    const GROUP: usize = 32;
    const ZERO: u8 = codebook::IQ2_ZERO;
    const ROUNDING: Rounding = Rounding::Q8K;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            for (index, part) in block.parts.iter().enumerate() {
                let word = u32::from_le_bytes(part.word);
                row.scales[8 * i + index] = d * (0.5 + (word >> 28) as f32) * 0.25;
                for (group, point) in part.points.iter().enumerate() {
                    let point = &codebook::IQ2_XXS[usize::from(*point)];
                    let signs = SIGNS[(word >> (7 * group) & 0x7f) as usize];
                    row.codes.as_chunks_mut().0[32 * i + 4 * index + group] =
                        signed(point, signs, codebook::IQ2_ZERO);
                }
            }
        }
    }
}
