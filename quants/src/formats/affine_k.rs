//! The common part of Q4_K and Q5_K: eight sub-blocks of 32 weights with 6-bit scales and minima.

use crate::formats::block::Half;
use crate::formats::importance::error_weights;
use crate::isa::InstructionSet;
use crate::levels::{build, each};
use crate::reduce::{largest, sum, sums_of_squares};
use crate::round::nearest_int;
use crate::search::affine::{self, AffineFit, Candidates, IMPORTANCE_CANDIDATES};
use crate::search::positive;

/// The parameters of the two encoders, apart from the layout of the levels.
pub(crate) struct Format {
    pub(crate) max_level: i32,
    /// The candidates without importance.
    pub(crate) plain_candidates: Candidates,
    /// Whether scales that do not fit in six bits are cut off (with importance).
    pub(crate) clamp_scales: bool,
}

/// The scales of a super-block.
#[derive(Clone, Copy)]
pub(crate) struct Scales {
    pub(crate) d: Half,
    pub(crate) dmin: Half,
    pub(crate) packed: [u8; 12],
}

impl Default for Scales {
    fn default() -> Self {
        Self {
            d: Half::ZERO,
            dmin: Half::ZERO,
            packed: [0; 12],
        }
    }
}

/// Eight scales and eight minima of six bits. The first four of each fill the low six bits of the
/// first eight bytes; the others have their low nibbles in the last four bytes and their upper two
/// bits on top of the former. Values above 63 spill as they do in ggml.
pub(crate) fn pack_scales(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    std::array::from_fn(|i| match i {
        0..4 => scales[i] | scales[4 + i] >> 4 << 6,
        4..8 => mins[i - 4] | mins[i] >> 4 << 6,
        _ => scales[i - 4] & 15 | (mins[i - 4] & 15) << 4,
    })
}

/// The scale and the minimum of sub-block `j`.
#[inline(always)]
pub(crate) fn unpack_scale(packed: &[u8; 12], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[4 + j] & 63)
    } else {
        (
            packed[4 + j] & 15 | packed[j - 4] >> 6 << 4,
            packed[4 + j] >> 4 | packed[j] >> 6 << 4,
        )
    }
}

/// Super-blocks that are encoded together: their scales and minima fill eight lanes.
pub(crate) const TILE: usize = 4;

/// Finds the scales and levels of at most [`TILE`] super-blocks.
#[inline(always)]
pub(crate) fn encode(
    isa: impl InstructionSet,
    format: &Format,
    x: &[[f32; 256]],
    importance: Option<&[[f32; 256]]>,
    levels: &mut [[u8; 256]; TILE],
) -> [Scales; TILE] {
    let count = x.len();
    let levels = &mut levels[..count];
    let mut weights = [[0.0; 256]; TILE];
    let sums = match importance {
        None => [0.0; TILE],
        Some(_) => sums_of_squares(x.as_flattened(), 256),
    };
    for (j, x) in x.iter().enumerate() {
        weights[j] = match importance {
            None => plain_weights(x),
            Some(importance) => {
                let variance = 2.0 * sums[j] / 256.0;
                error_weights(x, &importance[j], variance)
            }
        };
    }
    let candidates = match importance {
        None => format.plain_candidates,
        Some(_) => IMPORTANCE_CANDIDATES,
    };
    let weights = weights[..count].as_flattened().as_chunks::<32>().0;
    let mut fits = [[AffineFit::default(); 8]; TILE];
    isa.run(affine::Fit {
        x: x.as_flattened().as_chunks::<32>().0,
        weights,
        max_level: format.max_level,
        candidates,
        levels: levels.as_flattened_mut().as_chunks_mut::<32>().0,
        fits: fits[..count].as_flattened_mut(),
    });
    let mut scales = [Scales::default(); TILE];
    match importance {
        None => scales = fits.map(|fits| round_plain(&fits)),
        Some(_) => round_with_importance(isa, format, &fits[..count], weights, &mut scales[..count]),
    }
    for ((x, levels), scales) in x.iter().zip(levels).zip(&scales) {
        let (d, dmin) = (scales.d.get(), scales.dmin.get());
        let sub_blocks = x.as_chunks::<32>().0.iter();
        for (j, (x, levels)) in sub_blocks.zip(levels.as_chunks_mut::<32>().0).enumerate() {
            let (scale, min) = unpack_scale(&scales.packed, j);
            let scale_and_min = (d * f32::from(scale), dmin * f32::from(min));
            affine::refine(x, scale_and_min, format.max_level, levels);
        }
    }
    scales
}

/// Errors are weighted with the weights' magnitudes above the sub-block's root mean square.
#[inline(always)]
fn plain_weights(x: &[f32; 256]) -> [f32; 256] {
    let magnitudes = each(&sums_of_squares::<8>(x, 32), |sum| (sum / 32.0).sqrt());
    build(|i| magnitudes[i / 32] + x[i].abs())
}

/// Scales and minima are rounded to 64 steps of the largest.
#[inline(always)]
fn round_plain(fits: &[AffineFit; 8]) -> Scales {
    let (scale_levels, d) = round_to_64(&fits.map(|fit| fit.scale));
    let (min_levels, dmin) = round_to_64(&fits.map(|fit| fit.min));
    Scales {
        d,
        dmin,
        packed: pack_scales(&scale_levels, &min_levels),
    }
}

#[inline(always)]
fn round_to_64(values: &[f32; 8]) -> ([u8; 8], Half) {
    let largest = largest(values);
    let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
    let levels = values.map(|value| (nearest_int(inverse * value) as u8).min(63));
    (levels, Half::new(largest / 63.0))
}

/// Scales and minima are fitted with the weight of their sub-blocks.
#[inline(always)]
fn round_with_importance(
    isa: impl InstructionSet,
    format: &Format,
    fits: &[[AffineFit; 8]],
    weights: &[[f32; 32]],
    scales: &mut [Scales],
) {
    let mut values = [[0.0; 8]; 2 * TILE];
    let mut totals = [[0.0; 8]; 2 * TILE];
    for (j, fits) in fits.iter().enumerate() {
        values[2 * j] = fits.map(|fit| fit.scale);
        values[2 * j + 1] = fits.map(|fit| fit.min);
        for (i, total) in totals[2 * j].iter_mut().enumerate() {
            *total = sum(&weights[8 * j + i]);
        }
        totals[2 * j + 1] = totals[2 * j];
    }
    let mut levels = [[0; 8]; 2 * TILE];
    let mut d = [0.0; 2 * TILE];
    let count = 2 * fits.len();
    isa.run(positive::Fit {
        x: &values[..count],
        max_level: 63,
        weights: &totals[..count],
        levels: &mut levels[..count],
        scales: &mut d[..count],
    });
    if format.clamp_scales {
        levels = levels.map(|levels| levels.map(|level| level.min(63)));
    }
    for (j, scales) in scales.iter_mut().enumerate() {
        *scales = Scales {
            d: Half::new(d[2 * j]),
            dmin: Half::new(d[2 * j + 1]),
            packed: pack_scales(&levels[2 * j], &levels[2 * j + 1]),
        };
    }
}
