//! What Q4_K and Q5_K share: eight sub-blocks of 32 weights with 6-bit scales and minima.

use zerocopy::{transmute, transmute_mut, transmute_ref};

use crate::block::Half;
use crate::round::nearest_int;
use crate::search::{
    Candidates, FitAffine8, IMPORTANCE_CANDIDATES, error_weights, fit_positive, largest, refine_affine, sum,
    sum_of_squares,
};

/// In what the two formats' encoders differ, apart from the layout of the levels.
pub(crate) struct Format {
    pub(crate) max_level: i32,
    /// What is tried without importance.
    pub(crate) plain_candidates: Candidates,
    /// Whether scales that do not fit in six bits are cut off (with importance).
    pub(crate) clamp_scales: bool,
}

/// The scales of a super-block.
pub(crate) struct Scales {
    pub(crate) d: Half,
    pub(crate) dmin: Half,
    pub(crate) packed: [u8; 12],
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

/// Finds the scales and levels of a super-block.
pub(crate) fn encode(
    format: &Format,
    x: &[f32; 256],
    importance: Option<&[f32; 256]>,
    fit: FitAffine8<32>,
    levels: &mut [u8; 256],
) -> Scales {
    let scales = match importance {
        None => fit_plain(format, x, fit, levels),
        Some(importance) => fit_with_importance(format, x, importance, fit, levels),
    };
    let (d, dmin) = (scales.d.get(), scales.dmin.get());
    let sub_blocks = x.as_chunks::<32>().0.iter();
    for (j, (x, levels)) in sub_blocks.zip(levels.as_chunks_mut::<32>().0).enumerate() {
        let (scale, min) = unpack_scale(&scales.packed, j);
        let scale_and_min = (d * f32::from(scale), dmin * f32::from(min));
        refine_affine(x, scale_and_min, format.max_level, levels);
    }
    scales
}

/// Errors are weighted with the weights' magnitudes above the sub-block's root mean square; scales
/// and minima are rounded to 64 steps of the largest.
fn fit_plain(format: &Format, x: &[f32; 256], fit: FitAffine8<32>, levels: &mut [u8; 256]) -> Scales {
    let x: &[[f32; 32]; 8] = transmute_ref!(x);
    let weights = x.map(|x| {
        let magnitude = (sum_of_squares(&x) / 32.0).sqrt();
        x.map(|x| magnitude + x.abs())
    });
    let candidates = format.plain_candidates;
    let fits = fit(x, &weights, format.max_level, candidates, transmute_mut!(levels));
    let (scales, mins) = (fits.map(|fit| fit.scale), fits.map(|fit| fit.min));
    let (scale_levels, d) = round_to_64(&scales);
    let (min_levels, dmin) = round_to_64(&mins);
    Scales {
        d,
        dmin,
        packed: pack_scales(&scale_levels, &min_levels),
    }
}

fn round_to_64(values: &[f32; 8]) -> ([u8; 8], Half) {
    let largest = largest(values);
    let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
    let levels = values.map(|value| (nearest_int(inverse * value) as u8).min(63));
    (levels, Half::new(largest / 63.0))
}

/// Scales and minima are fitted with the weight of their sub-blocks.
fn fit_with_importance(
    format: &Format,
    x: &[f32; 256],
    importance: &[f32; 256],
    fit: FitAffine8<32>,
    levels: &mut [u8; 256],
) -> Scales {
    let variance = 2.0 * sum_of_squares(x) / 256.0;
    let weights: [[f32; 32]; 8] = transmute!(error_weights(x, importance, variance));
    let totals = weights.map(|weights| sum(&weights));
    let fits = fit(
        transmute_ref!(x),
        &weights,
        format.max_level,
        IMPORTANCE_CANDIDATES,
        transmute_mut!(levels),
    );
    let (scales, mins) = (fits.map(|fit| fit.scale), fits.map(|fit| fit.min));
    let mut scale_levels = [0; 8];
    let mut min_levels = [0; 8];
    let d = fit_positive(&scales, 63, &totals, &mut scale_levels);
    let dmin = fit_positive(&mins, 63, &totals, &mut min_levels);
    if format.clamp_scales {
        scale_levels = scale_levels.map(|level| level.min(63));
        min_levels = min_levels.map(|level| level.min(63));
    }
    Scales {
        d: Half::new(d),
        dmin: Half::new(dmin),
        packed: pack_scales(&scale_levels, &min_levels),
    }
}
