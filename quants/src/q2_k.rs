//! Q2_K: super-blocks of 16 sub-blocks of 16 weights, 4-bit scales and minima, 2-bit levels.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute_mut, transmute_ref};

use crate::block::{Half, blocks, blocks_mut};
use crate::levels::{pack_two_bits, unpack_two_bits};
use crate::round::nearest_int;
use crate::search::{
    AffineFit, Candidates, ErrorMeasure, FitAffine8, IMPORTANCE_CANDIDATES, error_weights, fit_affine_8,
    fit_positive, largest, refine_affine, sum, sum_of_squares,
};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    /// Scale in the low nibble, minimum in the high one.
    scales: [u8; 16],
    qs: [u8; 64],
    d: Half,
    dmin: Half,
}

const PLAIN_CANDIDATES: Candidates = Candidates {
    first: -0.5,
    step: 0.1,
    last: 15,
    measure: ErrorMeasure::Absolute,
};

pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with(fit_affine_8, x, importance, dst);
}

/// [`encode_row`] with some instruction set's search.
pub(crate) fn encode_row_with(fit: FitAffine8<16>, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let mut importance = importance.map(|importance| importance.as_chunks::<256>().0.iter());
    let blocks = blocks_mut::<Block>(dst).iter_mut();
    for (x, block) in x.as_chunks::<256>().0.iter().zip(blocks) {
        let mut levels = [0; 256];
        match importance.as_mut().and_then(Iterator::next) {
            None => fit_plain(x, fit, block, &mut levels),
            Some(importance) => fit_with_importance(x, importance, fit, block, &mut levels),
        }
        let (d, dmin) = (block.d.get(), block.dmin.get());
        let sub_blocks = x.as_chunks::<16>().0.iter();
        for ((x, scale), levels) in sub_blocks.zip(block.scales).zip(levels.as_chunks_mut::<16>().0) {
            let scale_and_min = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
            refine_affine(x, scale_and_min, 3, levels);
        }
        block.qs = pack_two_bits(&levels);
    }
}

/// Errors are absolute and weighted with the weights' magnitudes; scales and minima are rounded to
/// sixteen steps of the largest.
fn fit_plain(x: &[f32; 256], fit: FitAffine8<16>, block: &mut Block, levels: &mut [u8; 256]) {
    let (scales, mins) = fit_both_halves(fit, x, &x.map(f32::abs), PLAIN_CANDIDATES, levels);
    let (scale_levels, d) = round_to_sixteen(&scales);
    let (min_levels, dmin) = round_to_sixteen(&mins);
    block.scales = std::array::from_fn(|j| (scale_levels[j] | min_levels[j] << 4) as u8);
    block.d = d;
    block.dmin = dmin;
}

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
fn fit_with_importance(
    x: &[f32; 256],
    importance: &[f32; 256],
    fit: FitAffine8<16>,
    block: &mut Block,
    levels: &mut [u8; 256],
) {
    let variance = sum_of_squares(x) / 256.0;
    let weights = error_weights(x, importance, variance);
    let totals: [f32; 16] = std::array::from_fn(|j| sum(&weights[16 * j..][..16]));
    let (scales, mins) = fit_both_halves(fit, x, &weights, IMPORTANCE_CANDIDATES, levels);
    let mut scale_levels = [0; 16];
    let mut min_levels = [0; 16];
    block.d = Half::new(fit_positive(&scales, 15, &totals, &mut scale_levels));
    block.dmin = Half::new(fit_positive(&mins, 15, &totals, &mut min_levels));
    block.scales = std::array::from_fn(|j| scale_levels[j] | min_levels[j] << 4);
}

/// The scales and minima of the sixteen sub-blocks.
fn fit_both_halves(
    fit: FitAffine8<16>,
    x: &[f32; 256],
    weights: &[f32; 256],
    candidates: Candidates,
    levels: &mut [u8; 256],
) -> ([f32; 16], [f32; 16]) {
    let x: &[[[f32; 16]; 8]; 2] = transmute_ref!(x);
    let weights: &[[[f32; 16]; 8]; 2] = transmute_ref!(weights);
    let levels: &mut [[[u8; 16]; 8]; 2] = transmute_mut!(levels);
    let fits: [[AffineFit; 8]; 2] =
        std::array::from_fn(|half| fit(&x[half], &weights[half], 3, candidates, &mut levels[half]));
    (
        std::array::from_fn(|j| fits[j / 8][j % 8].scale),
        std::array::from_fn(|j| fits[j / 8][j % 8].min),
    )
}

pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
        let (d, dmin) = (block.d.get(), block.dmin.get());
        for (j, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(block.scales[j] & 15);
            let min = dmin * f32::from(block.scales[j] >> 4);
            *y = unpack_two_bits(&block.qs, j).map(|q| scale * f32::from(q) - min);
        }
    }
}
