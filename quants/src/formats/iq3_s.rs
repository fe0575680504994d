//! IQ3_S: 3.4375 bits a weight. Four weights are a point of a codebook of 512 and four signs; 32 weights share
//! a 4-bit scale.
//!
//! Block (256 weights, 110 bytes): f16 `d`; 64 low bytes of point indices; 8 bytes with the indices' high bits;
//! 32 sign bytes; 4 bytes of two scales each. A weight is `d·(2·scale + 1)·value·sign`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::iq::super_blocks;
use crate::formats::iq3_xxs::quarters;
use crate::isa::InstructionSet;
use crate::search::codebook::{self, Fit, Refit, Search, fold_signs, sign, signed};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    low: [[u8; 8]; 8],
    high: [u8; 8],
    signs: [[u8; 4]; 8],
    scales: [u8; 4],
}

const SEARCH: Search = Search {
    tries: 9,
    step: 0.2,
    refit: Refit::AllIfAnyOff,
};

/// The code of 0 in an expanded row: the largest value.
pub(crate) const ZERO: u8 = 15;

/// [`TensorType::IQ3_S`].
pub(crate) struct IQ3_S;

impl Decode for IQ3_S {
    const TYPE: TensorType = TensorType::IQ3_S;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            for (index, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let code = block.scales[index / 2] >> (4 * (index % 2)) & 0xf;
                let scale = d * f32::from(1 + 2 * code);
                for (quarter, y) in y.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let high = block.high[index] >> quarter & 1;
                    let point =
                        &codebook::IQ3_S[usize::from(u16::from_le_bytes([block.low[index][quarter], high]))];
                    let signs = block.signs[index][quarter / 2] >> (4 * (quarter % 2));
                    for axis in 0..4 {
                        y[axis] = scale * f32::from(point[axis]) * sign(signs, axis);
                    }
                }
            }
        }
    }
}

impl Encode for IQ3_S {
    /// Encodes whole blocks.
    ///
    /// The indices and signs of the 32 weights after a run of zeros stand where those of the zeros belong: ggml
    /// moves on in these two fields for blocks that it stores only, and so do we, byte for byte. (Scales and high
    /// bits stay in place, so such weights are decoded to something else. It takes 32 consecutive zeros among
    /// 256 weights that are not all zero.)
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let grid = codebook::iq3_s();
        for (super_block, block) in super_blocks::<Block>(x, importance, |sum| 2.0 * sum / 256.0, dst) {
            let x = super_block.x;
            let mut scales = [0.0; 8];
            let mut max_scale = 0.0f32;
            let mut stored = 0;
            for (index, x) in x.as_chunks::<32>().0.iter().enumerate() {
                let weights = super_block.weights::<32>(index, |x| x * x);
                let mut magnitudes = [[0.0; 8]; 4];
                let mut signs = [0; 4];
                for (group, x) in x.as_chunks::<8>().0.iter().enumerate() {
                    signs[group] = fold_signs(isa, x, &mut magnitudes[group]);
                }
                let max = codebook::largest(magnitudes.as_flattened());
                if max == 0.0 {
                    continue;
                }
                let magnitudes = quarters(magnitudes.as_flattened());
                let Fit {
                    scale,
                    points,
                    inverted,
                } = codebook::fit::<_, _, _, 24>(
                    isa,
                    grid,
                    SEARCH,
                    &magnitudes,
                    &quarters(&weights),
                    max,
                    max / 15.0,
                );
                for (group, point) in points.into_iter().enumerate() {
                    let [low, high] = point.to_le_bytes();
                    block.low[stored][group] = low;
                    block.high[index] |= high << group;
                }
                let signs = if inverted {
                    signs.map(|signs| !signs)
                } else {
                    signs
                };
                block.signs[stored] = signs;
                stored += 1;
                scales[index] = scale;
                max_scale = max_scale.max(scale);
            }
            if max_scale == 0.0 {
                continue;
            }
            let d = max_scale / 31.0;
            block.d = Half::new(d * 1.033);
            let codes = codebook::quantize_scales(&scales, d, 15);
            for (byte, codes) in block.scales.iter_mut().zip(codes.as_chunks::<2>().0) {
                *byte = codes[0] | codes[1] << 4;
            }
        }
    }
}

impl Expand for IQ3_S {
    const GROUP: usize = 32;
    const ZERO: u8 = ZERO;
    const ROUNDING: Rounding = Rounding::Q8K;

    /// The values with their signs, around [`ZERO`].
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            for index in 0..8 {
                let code = block.scales[index / 2] >> (4 * (index % 2)) & 0xf;
                row.scales[8 * i + index] = d * f32::from(1 + 2 * code);
                for quarter in 0..8 {
                    let high = block.high[index] >> quarter & 1;
                    let point =
                        &codebook::IQ3_S[usize::from(u16::from_le_bytes([block.low[index][quarter], high]))];
                    let signs = block.signs[index][quarter / 2] >> (4 * (quarter % 2));
                    row.codes.as_chunks_mut().0[64 * i + 8 * index + quarter] = signed(point, signs, ZERO);
                }
            }
        }
    }
}
