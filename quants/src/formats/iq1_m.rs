//! IQ1_M: 1.75 bits a weight. Eight weights are a point of a codebook of 2048 and the direction of the values'
//! shift; 16 weights share a 3-bit scale.
//!
//! Block (256 weights, 56 bytes): 32 low bytes of point indices; 16 bytes of two nibbles, each three high index
//! bits below the shift; four u16 of four scales each, below a nibble of the f16 `d`. A weight is
//! `d·(2·scale + 1)·(value ± ⅛)`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::f16;
use crate::formats::block::blocks;
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::iq::super_blocks;
use crate::formats::iq1::{ZERO, ascending, code_of, eighths, largest_magnitude, place_groups, split_levels};
use crate::isa::InstructionSet;
use crate::search::codebook;
use crate::search::split::{BestOfHalves, DELTA, DOWN, Split, Sums, UP};
use crate::validate::Check;

/// Blocks whose largest magnitude is below this are stored as nothing.
const NEGLIGIBLE: f32 = 1e-7;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    low: [[u8; 2]; 16],
    high: [u8; 16],
    words: [[u8; 2]; 4],
}

/// The outcome of a block's own search.
#[derive(Clone, Copy)]
struct Part {
    scale: f32,
    points: [u16; 2],
    up: [bool; 2],
}

/// [`TensorType::IQ1_M`].
pub(crate) struct IQ1_M;

impl Decode for IQ1_M {
    const TYPE: TensorType = TensorType::IQ1_M;
    const CHECK: Check = Check::F16InTopBits;
    const VECTORIZED: bool = false;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let words = block.words.map(u16::from_le_bytes);
            let d = super_scale(&words);
            for (index, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let code = words[index / 4] >> (3 * (index % 4)) & 7;
                let scale = d * f32::from(2 * code + 1);
                for (group, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                    let nibble = block.high[index] >> (4 * group);
                    let delta = if nibble >> 3 & 1 == 1 { -DELTA } else { DELTA };
                    let point = u16::from_le_bytes([block.low[index][group], nibble & 7]);
                    let point = &codebook::IQ1[usize::from(point)];
                    for axis in 0..8 {
                        y[axis] = scale * (f32::from(point[axis]) + delta);
                    }
                }
            }
        }
    }
}

impl Encode for IQ1_M {
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let grid = codebook::iq1();
        for (super_block, block) in super_blocks::<Block>(x, importance, |sum| 2.0 * sum / 256.0, dst) {
            let x = super_block.x;
            let (blocks, _) = x.as_chunks::<16>();
            let weights: [[f32; 16]; 16] =
                std::array::from_fn(|index| super_block.weights::<16>(index, |x| x * x));
            // All blocks are split before any is placed, so that the codebook's lists are there when they are needed.
            let mut splits = [None; 16];
            for (index, x) in blocks.iter().enumerate() {
                if largest_magnitude(x) < NEGLIGIBLE {
                    continue;
                }
                let order = ascending(isa, x);
                let (sums_x, sums_w) = sums_of_halves(x, &weights[index], &order);
                let Some(Split { scale, at, up }) = isa.run(BestOfHalves {
                    sums_x: &sums_x,
                    sums_w: &sums_w,
                }) else {
                    continue;
                };
                let levels = split_levels(&order, at, scale < 0.0);
                let codes = [0, 1].map(|half| code_of(&levels.as_chunks().0[half]));
                for code in codes {
                    grid.prefetch(isa, code);
                }
                splits[index] = Some((codes, up.map(|up| up != (scale < 0.0)), scale.abs()));
            }
            let mut parts = [Part {
                scale: 0.0,
                points: [0; 2],
                up: [true; 2],
            }; 16];
            let mut max_scale = 0.0f32;
            for (index, split) in splits.into_iter().enumerate() {
                let Some((codes, up, scale)) = split else {
                    continue;
                };
                let (points, scale) = place_groups(
                    isa,
                    grid,
                    blocks[index].as_chunks().0,
                    weights[index].as_chunks().0,
                    codes,
                    &up.map(values),
                    scale,
                );
                block.low[index] = points.map(|point| point as u8);
                block.high[index] = (points[0] >> 8 | points[1] >> 8 << 4) as u8;
                parts[index] = Part { scale, points, up };
                max_scale = max_scale.max(scale);
            }
            if max_scale == 0.0 {
                continue;
            }
            let first = max_scale / 15.0;
            let codes = codebook::quantize_scales(&parts.map(|part| part.scale), first, 7);
            let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
            for index in 0..16 {
                let Part { points, up, .. } = parts[index];
                block.high[index] |= u8::from(!up[0]) << 3 | u8::from(!up[1]) << 7;
                let multiple = f32::from(2 * codes[index] + 1);
                for group in 0..2 {
                    let point = &codebook::IQ1[usize::from(points[group])];
                    for axis in 0..8 {
                        let weight = weights[index][8 * group + axis];
                        let value = values(up[group])[(point[axis] + 1) as usize] * multiple;
                        sum_qx += weight * value * blocks[index][8 * group + axis];
                        sum_q2 += weight * value * value;
                    }
                }
            }
            let d = if sum_q2 > 0.0 { sum_qx / sum_q2 } else { first };
            let d = f16::from_f32(d * 1.1125);
            block.words = std::array::from_fn(|word| {
                let scales = (0..4)
                    .map(|i| u16::from(codes[4 * word + i]) << (3 * i))
                    .sum::<u16>();
                (scales | (d >> (4 * word) & 0xf) << 12).to_le_bytes()
            });
        }
    }
}

impl Expand for IQ1_M {
    const GROUP: usize = 16;
    const ZERO: u8 = ZERO;
    const ROUNDING: Rounding = Rounding::Q8K;

    /// Eighths of the shifted values around [`ZERO`].
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let words = block.words.map(u16::from_le_bytes);
            let d = super_scale(&words);
            for index in 0..16 {
                let code = words[index / 4] >> (3 * (index % 4)) & 7;
                row.scales[16 * i + index] = d * f32::from(2 * code + 1) * DELTA;
                for group in 0..2 {
                    let nibble = block.high[index] >> (4 * group);
                    let point = u16::from_le_bytes([block.low[index][group], nibble & 7]);
                    row.codes.as_chunks_mut().0[32 * i + 2 * index + group] =
                        eighths(point, nibble >> 3 & 1 == 1);
                }
            }
        }
    }
}

/// The running sums of weight·x and of the weights in this order, for each half of the block.
#[inline(always)]
fn sums_of_halves(x: &[f32; 16], weights: &[f32; 16], order: &[u8; 16]) -> ([Sums<16>; 2], [Sums<16>; 2]) {
    let mut sums_x = [Sums::new(), Sums::new()];
    let mut sums_w = [Sums::new(), Sums::new()];
    // Each half's addends with zeros for the other's, so that there is nothing to decide: adding zero leaves a sum as
    // it is, since none is a negative zero.
    let (mut addends_x, mut addends_w) = ([[0.0; 16]; 2], [[0.0; 16]; 2]);
    for at in 0..16 {
        addends_x[at / 8][at] = weights[at] * x[at];
        addends_w[at / 8][at] = weights[at];
    }
    let (mut sum_x, mut sum_w) = ([0.0; 2], [0.0; 2]);
    for (position, &at) in order.iter().enumerate() {
        for half in 0..2 {
            sum_x[half] += addends_x[half][usize::from(at)];
            sum_w[half] += addends_w[half][usize::from(at)];
            sums_x[half].push(position, sum_x[half]);
            sums_w[half].push(position, sum_w[half]);
        }
    }
    for sums in sums_x.iter_mut().chain(&mut sums_w) {
        sums.finish();
    }
    (sums_x, sums_w)
}

fn values(up: bool) -> &'static [f32; 3] {
    if up { &UP } else { &DOWN }
}

/// The super-block's scale, scattered over the four words of scales.
fn super_scale(words: &[u16; 4]) -> f32 {
    f16::to_f32((0..4).map(|word| words[word] >> 12 << (4 * word)).sum())
}
