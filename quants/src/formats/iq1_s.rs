//! IQ1_S: 1.5625 bits a weight. Eight weights are a point of a codebook of 2048; 32 weights share a 3-bit scale
//! and the direction of the values' shift.
//!
//! Block (256 weights, 50 bytes): f16 `d`; 32 low bytes of point indices; for each 32 weights a u16 of four
//! times three high index bits, the scale, and the shift. A weight is `d·(2·scale + 1)·(value ± ⅛)`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks};
use crate::formats::format::{Decode, Encode, Expand, Importance, Rounding, Row};
use crate::formats::iq::super_blocks;
use crate::formats::iq1::{ZERO, ascending, code_of, eighths, largest_magnitude, place_groups, split_levels};
use crate::isa::InstructionSet;
use crate::search::codebook;
use crate::search::split::{Best, DELTA, DOWN, Split, Sums, UP};

/// Blocks whose largest magnitude is below this are stored as nothing.
const NEGLIGIBLE: f32 = 1e-12;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    low: [[u8; 4]; 8],
    words: [[u8; 2]; 8],
}

/// [`TensorType::IQ1_S`].
pub(crate) struct IQ1_S;

impl Decode for IQ1_S {
    const TYPE: TensorType = TensorType::IQ1_S;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            for (index, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let word = u16::from_le_bytes(block.words[index]);
                let scale = d * f32::from(2 * (word >> 12 & 7) + 1);
                let delta = if word >> 15 == 1 { -DELTA } else { DELTA };
                for (group, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                    let high = (word >> (3 * group) & 7) as u8;
                    let point =
                        &codebook::IQ1[usize::from(u16::from_le_bytes([block.low[index][group], high]))];
                    for axis in 0..8 {
                        y[axis] = scale * (f32::from(point[axis]) + delta);
                    }
                }
            }
        }
    }
}

impl Encode for IQ1_S {
    const IMPORTANCE: Importance = Importance::Required;

    /// Encodes whole blocks. The format is meant for use with importance; without, x² stands in for it.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let grid = codebook::iq1();
        for (super_block, block) in super_blocks::<Block>(x, importance, |sum| 2.0 * sum / 256.0, dst) {
            let x = super_block.x;
            let mut scales = [0.0; 8];
            let mut words = [0u16; 8];
            let mut max_scale = 0.0f32;
            for (index, x) in x.as_chunks::<32>().0.iter().enumerate() {
                if largest_magnitude(x) < NEGLIGIBLE {
                    continue;
                }
                let weights = super_block.weights::<32>(index, |x| x * x);
                let order = ascending(isa, x);
                let (mut sums_x, mut sums_w) = (Sums::new(), Sums::new());
                let (mut sum_x, mut sum_w) = (0.0, 0.0);
                for (position, &index) in order.iter().enumerate() {
                    let index = usize::from(index);
                    sum_x += weights[index] * x[index];
                    sum_w += weights[index];
                    sums_x.push(position, sum_x);
                    sums_w.push(position, sum_w);
                }
                sums_x.finish();
                sums_w.finish();
                let Some(Split { scale, at, up: [up] }) = isa.run(Best {
                    sums_x: &sums_x,
                    sums_w: &sums_w,
                }) else {
                    continue;
                };
                let levels = split_levels(&order, at, scale < 0.0);
                let up = up != (scale < 0.0);
                let codes = [0, 1, 2, 3].map(|group| code_of(&levels.as_chunks().0[group]));
                for code in codes {
                    grid.prefetch(isa, code);
                }
                let (points, scale) = place_groups(
                    isa,
                    grid,
                    x.as_chunks().0,
                    weights.as_chunks().0,
                    codes,
                    &[if up { &UP } else { &DOWN }; 4],
                    scale.abs(),
                );
                block.low[index] = points.map(|point| point as u8);
                for (group, point) in points.into_iter().enumerate() {
                    words[index] |= (point >> 8) << (3 * group);
                }
                words[index] |= u16::from(!up) << 15;
                scales[index] = scale;
                max_scale = max_scale.max(scale);
            }
            let d = max_scale / 15.0;
            if max_scale == 0.0 {
                words = words.map(|word| word & 0x0fff);
            } else {
                block.d = Half::new(d * 1.125);
                let codes = codebook::quantize_scales(&scales, d, 7);
                for (word, code) in words.iter_mut().zip(codes) {
                    *word |= u16::from(code) << 12;
                }
            }
            block.words = words.map(u16::to_le_bytes);
        }
    }
}

impl Expand for IQ1_S {
    const GROUP: usize = 32;
    const ZERO: u8 = ZERO;
    const ROUNDING: Rounding = Rounding::Q8K;

    /// Eighths of the shifted values around [`ZERO`].
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            for (index, word) in block.words.iter().enumerate() {
                let word = u16::from_le_bytes(*word);
                row.scales[8 * i + index] = d * f32::from(2 * (word >> 12 & 7) + 1) * DELTA;
                for group in 0..4 {
                    let high = (word >> (3 * group) & 7) as u8;
                    let point = u16::from_le_bytes([block.low[index][group], high]);
                    row.codes.as_chunks_mut().0[32 * i + 4 * index + group] = eighths(point, word >> 15 == 1);
                }
            }
        }
    }
}
