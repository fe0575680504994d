//! IQ1_M: 1.75 bits a weight. Eight weights are a point of a codebook of 2048 and the direction of the values'
//! shift; 16 weights share a 3-bit scale.
//!
//! Block (256 weights, 56 bytes): 32 low bytes of point indices; 16 bytes of two nibbles, each three high index
//! bits below the shift; four u16 of four scales each, below a nibble of the f16 `d`. A weight is
//! `d·(2·scale + 1)·(value ± ⅛)`.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{blocks, blocks_mut};
use crate::f16;
use crate::grid::{self, Kernel, Portable};
use crate::iq1::{DELTA, DOWN, UP, ascending, largest_magnitude, place_groups, split_levels};
use crate::search::sum_of_squares;
use crate::weights::{block_weights, part};

/// Blocks whose largest magnitude is below this are stored as nothing.
const NEGLIGIBLE: f32 = 1e-7;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    low: [[u8; 2]; 16],
    high: [u8; 16],
    words: [[u8; 2]; 4],
}

/// The directions of the shifts of a block's two halves, in the order in which they are tried.
const SHIFTS: [[bool; 2]; 4] = [[true, true], [true, false], [false, true], [false, false]];

/// The best split of a sorted block.
struct Split {
    scale: f32,
    at: (usize, usize),
    up: [bool; 2],
}

/// What is known of a block after its own search.
#[derive(Clone, Copy)]
struct Part {
    scale: f32,
    points: [u16; 2],
    up: [bool; 2],
}

fn values(up: bool) -> &'static [f32; 3] {
    if up { &UP } else { &DOWN }
}

/// Encodes whole blocks.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with::<Portable>(x, importance, dst);
}

/// [`encode_row`] with the inner loops of an instruction set.
#[inline(always)]
pub(crate) fn encode_row_with<K: Kernel>(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let grid = grid::iq1();
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
        let (blocks, _) = x.as_chunks::<16>();
        let weights: [[f32; 16]; 16] = std::array::from_fn(|index| {
            block_weights(&blocks[index], part::<16>(importance, index), variance, |x| x * x)
        });
        let mut parts = [Part {
            scale: 0.0,
            points: [0; 2],
            up: [true; 2],
        }; 16];
        let mut max_scale = 0.0f32;
        for (index, x) in blocks.iter().enumerate() {
            if largest_magnitude(x) < NEGLIGIBLE {
                continue;
            }
            let order = ascending(x);
            let Some(Split { scale, at, up }) = best_split(x, &weights[index], &order) else {
                continue;
            };
            let levels = split_levels(&order, at, scale < 0.0);
            let up = up.map(|up| up != (scale < 0.0));
            let (points, scale) = place_groups::<K, _>(
                grid,
                x.as_chunks().0,
                weights[index].as_chunks().0,
                levels.as_chunks().0,
                &up.map(values),
                scale.abs(),
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
        let codes = grid::quantize_scales(&parts.map(|part| part.scale), first, 7);
        let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
        for index in 0..16 {
            let Part { points, up, .. } = parts[index];
            block.high[index] |= u8::from(!up[0]) << 3 | u8::from(!up[1]) << 7;
            let multiple = f32::from(2 * codes[index] + 1);
            for group in 0..2 {
                let point = &grid::IQ1[usize::from(points[group])];
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

/// The best of all splits into three runs, with all four combinations of the halves' shifts; `None` if all
/// weights of error are zero.
///
/// With values one apart, the sums for a split come from sums over everything and over what is below each
/// boundary; these are kept for each half.
#[inline(always)]
fn best_split(x: &[f32; 16], weights: &[f32; 16], order: &[u8; 16]) -> Option<Split> {
    let mut sums_x = [[0.0f32; 2]; 17];
    let mut sums_w = [[0.0f32; 2]; 17];
    for (position, &index) in order.iter().enumerate() {
        let (index, half) = (usize::from(index), usize::from(index >= 8));
        sums_x[position + 1] = sums_x[position];
        sums_w[position + 1] = sums_w[position];
        sums_x[position + 1][half] += weights[index] * x[index];
        sums_w[position + 1][half] += weights[index];
    }
    // How much a weight adds to Σ weight·value² when it falls below the first boundary, and the second.
    const fn steps(values: [f32; 3]) -> [f32; 2] {
        let squares = [
            values[0] * values[0],
            values[1] * values[1],
            values[2] * values[2],
        ];
        [squares[0] - squares[1], squares[1] - squares[2]]
    }
    const STEPS_UP: [f32; 2] = steps(UP);
    const STEPS_DOWN: [f32; 2] = steps(DOWN);
    let mut best = f32::MIN;
    let mut split = None;
    for first in 0..=16 {
        for second in first..=16 {
            let sums = |values: &[f32; 3], steps: [f32; 2], half: usize| {
                let top = values[2];
                let below = sums_x[first][half] + sums_x[second][half];
                let sum_q2 = sums_w[16][half] * top * top
                    + sums_w[first][half] * steps[0]
                    + sums_w[second][half] * steps[1];
                (sums_x[16][half] * top - below, sum_q2)
            };
            let up = [0, 1].map(|half| sums(&UP, STEPS_UP, half));
            let down = [0, 1].map(|half| sums(&DOWN, STEPS_DOWN, half));
            for shifts in SHIFTS {
                let halves: [(f32, f32); 2] =
                    std::array::from_fn(|half| if shifts[half] { up[half] } else { down[half] });
                let (sum_qx, sum_q2) = (halves[0].0 + halves[1].0, halves[0].1 + halves[1].1);
                if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                    let scale = sum_qx / sum_q2;
                    best = scale * sum_qx;
                    split = Some(Split {
                        scale,
                        at: (first, second),
                        up: shifts,
                    });
                }
            }
        }
    }
    split
}

/// The super-block's scale, scattered over the four words of scales.
fn super_scale(words: &[u16; 4]) -> f32 {
    f16::to_f32((0..4).map(|word| words[word] >> 12 << (4 * word)).sum())
}

/// Decodes whole blocks.
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
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
                let point = &grid::IQ1[usize::from(point)];
                for axis in 0..8 {
                    y[axis] = scale * (f32::from(point[axis]) + delta);
                }
            }
        }
    }
}
