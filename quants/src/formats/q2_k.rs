//! Q2_K: super-blocks of 16 sub-blocks of 16 weights, 4-bit scales and minima, 2-bit levels.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, tiles};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::importance::error_weights;
use crate::isa::InstructionSet;
use crate::levels::{each, pack_two_bits, unpack_two_bits};
use crate::reduce::{largest, sum, sums_of_squares};
use crate::round::nearest_int;
use crate::search::affine::{self, AffineFit, Candidates, ErrorMeasure, IMPORTANCE_CANDIDATES};
use crate::search::positive;
use crate::validate::Check;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    /// Scale in the low nibble, minimum in the high one.
    scales: [u8; 16],
    qs: [u8; 64],
    d: Half,
    dmin: Half,
}

/// [`TensorType::Q2_K`].
pub(crate) struct Q2_K;

impl Decode for Q2_K {
    const TYPE: TensorType = TensorType::Q2_K;
    const CHECK: Check = Check::F16At(&[80, 82]);
    const VECTORIZED: bool = false;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let (d, dmin) = (block.d.get(), block.dmin.get());
            for (j, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scale = d * f32::from(block.scales[j] & 15);
                let min = dmin * f32::from(block.scales[j] >> 4);
                *y = unpack_two_bits(&block.qs, j).map(|q| scale * f32::from(q) - min);
            }
        }
    }
}

impl Encode for Q2_K {
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        for (x, importance, blocks) in tiles::<Block>(TILE, x, importance, dst) {
            encode_tile(isa, x, importance, blocks);
        }
    }
}

impl Expand for Q2_K {
    const GROUP: usize = 16;
    const ZERO: u8 = 0;
    const LARGEST: u8 = 3;
    const OFFSETS: bool = true;
    const ROUNDING: Rounding = Rounding::Q8K;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let (d, dmin) = (block.d.get(), block.dmin.get());
            for (j, scale) in block.scales.iter().enumerate() {
                row.scales[16 * i + j] = d * f32::from(scale & 15);
                row.offsets[16 * i + j] = -dmin * f32::from(scale >> 4);
                row.codes.as_chunks_mut().0[16 * i + j] = unpack_two_bits(&block.qs, j);
            }
        }
    }
}

const PLAIN_CANDIDATES: Candidates = Candidates {
    first: -0.5,
    step: 0.1,
    last: 15,
    measure: ErrorMeasure::Absolute,
};

/// Super-blocks that are encoded together: their scales and minima fill eight lanes.
const TILE: usize = 4;

#[inline(always)]
fn encode_tile<I: InstructionSet>(
    isa: I,
    x: &[[f32; 256]],
    importance: Option<&[[f32; 256]]>,
    blocks: &mut [Block],
) {
    let mut levels = [[0; 256]; TILE];
    let mut fits = [[AffineFit::default(); 16]; TILE];
    let mut totals = [[0.0; 16]; 2 * TILE];
    let sums = match importance {
        None => [0.0; TILE],
        Some(_) => sums_of_squares(x.as_flattened(), 256),
    };
    for (j, x) in x.iter().enumerate() {
        let (weights, candidates) = match importance {
            // Errors are absolute and weighted with the weights' magnitudes.
            None => (each(x, f32::abs), PLAIN_CANDIDATES),
            Some(importance) => {
                let variance = sums[j] / 256.0;
                let weights = error_weights(x, &importance[j], variance);
                totals[2 * j] = std::array::from_fn(|i| sum(&weights[16 * i..][..16]));
                totals[2 * j + 1] = totals[2 * j];
                (weights, IMPORTANCE_CANDIDATES)
            }
        };
        let weights = weights.as_chunks::<16>().0;
        let (x, _) = x.as_chunks::<16>();
        let (levels, _) = levels[j].as_chunks_mut::<16>();
        isa.run(affine::Fit {
            x,
            weights,
            max_level: 3,
            candidates,
            levels,
            fits: &mut fits[j],
        });
    }
    if importance.is_some() {
        round_with_importance(isa, &fits[..x.len()], &totals, blocks);
    } else {
        for (fits, block) in fits.iter().zip(&mut *blocks) {
            round_plain(fits, block);
        }
    }
    for ((x, levels), block) in x.iter().zip(&mut levels).zip(blocks) {
        let (d, dmin) = (block.d.get(), block.dmin.get());
        let sub_blocks = x.as_chunks::<16>().0.iter();
        for ((x, scale), levels) in sub_blocks.zip(block.scales).zip(levels.as_chunks_mut::<16>().0) {
            let scale_and_min = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
            affine::refine(x, scale_and_min, 3, levels);
        }
        block.qs = pack_two_bits(levels);
    }
}

/// Scales and minima are rounded to sixteen steps of the largest.
#[inline(always)]
fn round_plain(fits: &[AffineFit; 16], block: &mut Block) {
    let (scale_levels, d) = round_to_sixteen(&fits.map(|fit| fit.scale));
    let (min_levels, dmin) = round_to_sixteen(&fits.map(|fit| fit.min));
    block.scales = std::array::from_fn(|j| (scale_levels[j] | min_levels[j] << 4) as u8);
    block.d = d;
    block.dmin = dmin;
}

#[inline(always)]
fn round_to_sixteen(values: &[f32; 16]) -> ([i32; 16], Half) {
    let largest = largest(values);
    if largest > 0.0 {
        let inverse = 15.0 / largest;
        let levels = values.map(|value| nearest_int(inverse * value));
        (levels, Half::new(largest / 15.0))
    } else {
        ([0; 16], Half::ZERO)
    }
}

/// Scales and minima are fitted with the weight of their sub-blocks.
#[inline(always)]
fn round_with_importance<I: InstructionSet>(
    isa: I,
    fits: &[[AffineFit; 16]],
    totals: &[[f32; 16]; 2 * TILE],
    blocks: &mut [Block],
) {
    let mut values = [[0.0; 16]; 2 * TILE];
    for (j, fits) in fits.iter().enumerate() {
        values[2 * j] = fits.map(|fit| fit.scale);
        values[2 * j + 1] = fits.map(|fit| fit.min);
    }
    let mut levels = [[0; 16]; 2 * TILE];
    let mut d = [0.0; 2 * TILE];
    let count = 2 * fits.len();
    isa.run(positive::Fit {
        x: &values[..count],
        max_level: 15,
        weights: &totals[..count],
        levels: &mut levels[..count],
        scales: &mut d[..count],
    });
    for (j, block) in blocks.iter_mut().enumerate() {
        block.d = Half::new(d[2 * j]);
        block.dmin = Half::new(d[2 * j + 1]);
        block.scales = std::array::from_fn(|i| levels[2 * j][i] | levels[2 * j + 1][i] << 4);
    }
}
