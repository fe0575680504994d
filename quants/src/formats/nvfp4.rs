//! NVFP4: 4.5 bits a weight. E2M1 floats; 16 weights share a scale that is an unsigned E4M3 float.
//!
//! Block (64 weights, 36 bytes): four scales; for each, 8 bytes with weights `i` and `8 + i`. A weight is
//! `scale·value`. Values are kept doubled, as in MXFP4, and scales halved.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute_ref};

use crate::formats::block::{blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::mxfp4::{CODES, VALUES, ZERO, nearest_values};
use crate::isa::InstructionSet;
use crate::levels::{build, each};
use crate::validate::Check;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    scales: [u8; 4],
    qs: [[u8; 8]; 4],
}

/// [`TensorType::NVFP4`].
pub(crate) struct NVFP4;

impl Decode for NVFP4 {
    const TYPE: TensorType = TensorType::NVFP4;
    const CHECK: Check = Check::Anything;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<64>().0) {
            for (part, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scale = half_scale(block.scales[part]);
                for (i, q) in block.qs[part].iter().enumerate() {
                    y[i] = f32::from(VALUES[usize::from(q & 0xf)]) * scale;
                    y[8 + i] = f32::from(VALUES[usize::from(q >> 4)]) * scale;
                }
            }
        }
    }
}

impl Encode for NVFP4 {
    fn handles_non_finite(_with_importance: bool) -> bool {
        true
    }

    /// Encodes whole blocks; importance has no influence.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        for (x, block) in x.as_chunks::<64>().0.iter().zip(blocks_mut::<Block>(dst)) {
            let parts: &[[f32; 16]; 4] = transmute_ref!(x);
            // Step by step for all four, so that the scales are computed in lanes.
            let finite = each(parts, |part| isa.finite_magnitude(&part));
            let mut largest = [0.0; 4];
            for part in 0..4 {
                largest[part] = finite[part].unwrap_or_else(|| {
                    parts[part]
                        .iter()
                        .fold(0.0, |max, x| if max < x.abs() { x.abs() } else { max })
                });
            }
            block.scales = each(&largest, |largest| encode_scale(largest / 6.0));
            let scales = each(&block.scales, half_scale);
            for part in 0..4 {
                let codes = nearest_values(isa, &parts[part], finite[part], scales[part]);
                let halves: &[[u8; 8]] = codes.as_chunks().0;
                // Codes are four bits, so that none reaches the next byte.
                let [low, high] = [halves[0], halves[1]].map(u64::from_le_bytes);
                block.qs[part] = (low | high << 4).to_le_bytes();
            }
        }
    }
}

impl Expand for NVFP4 {
    const GROUP: usize = 16;
    const ZERO: u8 = ZERO;
    const ROUNDING: Rounding = Rounding::Q8_0;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            for (part, qs) in block.qs.iter().enumerate() {
                row.scales[4 * i + part] = half_scale(block.scales[part]);
                let codes: &mut [u8; 16] = &mut row.codes.as_chunks_mut().0[4 * i + part];
                *codes = build(|i| CODES[usize::from(qs[i % 8] >> (i / 8 * 4) & 0xf)]);
            }
        }
    }
}

/// The code of the largest scale; the one after it is NaN.
const LARGEST: u8 = 0x7e;

/// Half of the scale of a code; zero for the code of NaN. The highest bit, a sign that
/// scales do not have, is ignored but for those two codes.
#[inline(always)]
fn half_scale(code: u8) -> f32 {
    let (exponent, mantissa) = (code >> 3 & 0xf, u32::from(code & 7));
    // Both are computed, so that nothing is guessed: scales of weights are often near the smallest normal one.
    let subnormal = mantissa as i32 as f32 / 512.0;
    // The bias of 7 becomes that of `f32`.
    let normal = f32::from_bits((u32::from(exponent) + 120) << 23 | mantissa << 20);
    let scale = if exponent == 0 { subnormal } else { normal };
    if code == LARGEST + 1 { 0.0 } else { scale * 0.5 }
}

/// The code of the scale nearest to `scale`; zero where it is not above zero. Halves are rounded up.
#[inline(always)]
fn encode_scale(scale: f32) -> u8 {
    // NaN becomes zero too, whose code is zero.
    let scale = if scale > 0.0 { scale } else { 0.0 };
    let scale = scale.min(448.0);
    let bits = scale.to_bits();
    let exponent = (bits >> 23) as i32 - 120;
    let subnormal = ((scale * 512.0 + 0.5) as i32).min(7);
    // A carry out of the mantissa goes where it belongs, to the exponent.
    let rounded = (exponent << 3 | (bits >> 20 & 7) as i32) + (bits >> 19 & 1) as i32;
    let normal = if rounded >= 15 << 3 {
        i32::from(LARGEST)
    } else {
        rounded
    };
    (if exponent <= 0 { subnormal } else { normal }) as u8
}
