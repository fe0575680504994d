//! IQ3_XXS: 3.0625 bits a weight. Four weights are a point of a codebook of 256, eight have seven signs; 32
//! weights share a 4-bit scale.
//!
//! Block (256 weights, 98 bytes): f16 `d`; 64 point indices; for each 32 weights a u32 of four 7-bit sign codes
//! below the scale. A weight is `d·(scale + ½)·½·value·sign`.

use gguf::TensorType;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use crate::formats::block::{Half, blocks};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::iq::super_blocks;
use crate::isa::InstructionSet;
use crate::levels::{build, each};
use crate::search::codebook::{self, Fit, Refit, SIGNS, Search, fold_signs_even, signed, with_signs};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    points: [[u8; 8]; 8],
    /// Four sign codes below the scale.
    words: [[u8; 4]; 8],
}

/// Blocks whose largest magnitude is below this are stored as nothing.
const NEGLIGIBLE: f32 = 1e-8;

const SEARCH: Search = Search {
    tries: 15,
    step: 0.2,
    refit: Refit::OnlyOff,
};

/// The code of 0 in an expanded row: the largest value.
pub(crate) const ZERO: u8 = 62;

/// [`TensorType::IQ3_XXS`].
pub(crate) struct IQ3_XXS;

impl Decode for IQ3_XXS {
    const TYPE: TensorType = TensorType::IQ3_XXS;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            for ((word, points), y) in block
                .words
                .iter()
                .zip(&block.points)
                .zip(y.as_chunks_mut::<32>().0)
            {
                let word = u32::from_le_bytes(*word);
                let scale = d * (0.5 + (word >> 28) as f32) * 0.5;
                let points: [[u8; 2]; 4] = transmute!(*points);
                let values: [[i8; 8]; 4] = build(|group| {
                    let points = points[group].map(|point| codebook::IQ3_XXS[usize::from(point)]);
                    with_signs(transmute!(points), SIGNS[(word >> (7 * group) & 0x7f) as usize])
                });
                *y = each(&transmute!(values), |value: i8| scale * f32::from(value));
            }
        }
    }
}

impl Encode for IQ3_XXS {
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let grid = codebook::iq3_xxs();
        for (super_block, block) in super_blocks::<Block>(x, importance, |sum| 2.0 * sum / 256.0, dst) {
            let x = super_block.x;
            let mut words = [0u32; 8];
            let mut scales = [0.0; 8];
            let mut max_scale = 0.0f32;
            for (index, x) in x.as_chunks::<32>().0.iter().enumerate() {
                let weights = super_block.weights::<32>(index, |x| x * x);
                let mut magnitudes = [[0.0; 8]; 4];
                for (group, (x, weights)) in x
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .zip(weights.as_chunks::<8>().0)
                    .enumerate()
                {
                    let code = fold_signs_even(isa, x, weights, &mut magnitudes[group]);
                    words[index] |= u32::from(code) << (7 * group);
                }
                let max = codebook::largest(magnitudes.as_flattened());
                if max < NEGLIGIBLE {
                    words[index] = 0;
                    continue;
                }
                let magnitudes = quarters(magnitudes.as_flattened());
                let Fit {
                    scale,
                    points,
                    inverted,
                } = codebook::fit::<_, _, _, 32>(
                    isa,
                    grid,
                    SEARCH,
                    &magnitudes,
                    &quarters(&weights),
                    max,
                    max / 15.0,
                );
                block.points[index] = points.map(|point| point as u8);
                if inverted {
                    words[index] = !words[index] & 0x0fff_ffff;
                }
                scales[index] = scale;
                max_scale = max_scale.max(scale);
            }
            if max_scale == 0.0 {
                block.zero();
                continue;
            }
            let d = max_scale / 31.0;
            block.d = Half::new(d * 1.0125);
            let codes = codebook::quantize_scales(&scales, d, 15);
            for ((bytes, word), code) in block.words.iter_mut().zip(words).zip(codes) {
                *bytes = (word | u32::from(code) << 28).to_le_bytes();
            }
        }
    }
}

impl Expand for IQ3_XXS {
    const GROUP: usize = 32;
    const ZERO: u8 = ZERO;
    const ROUNDING: Rounding = Rounding::Q8K;

    /// The values with their signs, around [`ZERO`].
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            for (index, (word, points)) in block.words.iter().zip(&block.points).enumerate() {
                let word = u32::from_le_bytes(*word);
                row.scales[8 * i + index] = d * (0.5 + (word >> 28) as f32) * 0.5;
                for (quarter, point) in points.iter().enumerate() {
                    let point = &codebook::IQ3_XXS[usize::from(*point)];
                    let signs = SIGNS[(word >> (7 * (quarter / 2)) & 0x7f) as usize] >> (4 * (quarter % 2));
                    row.codes.as_chunks_mut().0[64 * i + 8 * index + quarter] = signed(point, signs, ZERO);
                }
            }
        }
    }
}

/// A block of 32 as groups of four.
#[inline(always)]
pub(crate) fn quarters(x: &[f32]) -> [[f32; 4]; 8] {
    std::array::from_fn(|group| x.as_chunks::<4>().0[group])
}
