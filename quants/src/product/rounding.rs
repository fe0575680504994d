//! The rounding of activations to levels.

use super::form::Form;
use crate::f16;
use crate::formats::Rounding;
use crate::isa::product::SMALL_BLOCK;
use crate::round::nearest_int;

/// The destination of a rounded row.
pub(crate) struct Rounded<'a> {
    pub(super) codes: &'a mut [i8],
    pub(super) scales: &'a mut [f32],
    pub(super) starts: &'a mut [i32],
    pub(super) sums: &'a mut [f32],
}

/// Rounds a row.
#[inline(always)]
pub(crate) fn round_row(form: Form, x: &[f32], row: Rounded<'_>) {
    let Rounded {
        codes,
        scales,
        starts,
        sums,
    } = row;
    let block = form.block();
    let per_block = (block / form.group).max(1);
    for (index, (x, codes)) in x
        .chunks_exact(block)
        .zip(codes.chunks_exact_mut(block))
        .enumerate()
    {
        let groups = index * per_block..(index + 1) * per_block;
        let scale = if form.large() {
            let scale = round_large(x, codes);
            scales[index] = scale.stored;
            scale
        } else {
            let scale = round_small(x, codes);
            scales[groups.clone()].fill(scale.stored);
            scale
        };
        for (group, codes) in groups.zip(codes.chunks_exact(form.group)) {
            let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
            starts[group] = -i32::from(form.zero) * sum;
            sums[group] = match form.rounding {
                Rounding::Q8K => sum as f32,
                Rounding::Q8_0 => sum as f32 * scale.stored,
                // The sum is multiplied with the scale before that is rounded.
                Rounding::Q8_1 => f16::to_f32(f16::from_f32(sum as f32 * scale.exact)),
            };
        }
    }
}

/// The value of a level.
struct Scale {
    exact: f32,
    stored: f32,
}

/// The largest magnitude; NaN where one of `x` is NaN, so that it shows in every product.
#[inline(always)]
fn largest_magnitude(x: &[f32]) -> f32 {
    // Bit patterns of magnitudes are in the order of the magnitudes, and integer comparisons vectorize.
    f32::from_bits(
        x.iter()
            .fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff)),
    )
}

/// Levels of the largest magnitude over 127, half to even as ggml's vector code rounds.
#[inline(always)]
fn round_small(x: &[f32], codes: &mut [i8]) -> Scale {
    debug_assert_eq!(x.len(), SMALL_BLOCK);
    let largest = largest_magnitude(x);
    let exact = largest / 127.0;
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    for (code, x) in codes.iter_mut().zip(x) {
        *code = nearest_int(*x * inverse) as i8;
    }
    Scale {
        exact,
        stored: f16::to_f32(f16::from_f32(exact)),
    }
}

/// As [`round_small`], but the scale has the opposite sign of the largest weight and is not rounded.
#[inline(always)]
fn round_large(x: &[f32], codes: &mut [i8]) -> Scale {
    let largest = largest_magnitude(x);
    let first = x.iter().find(|x| x.abs() == largest);
    let largest = first.map_or(largest, |x| largest.copysign(*x));
    if largest == 0.0 {
        codes.fill(0);
        return Scale {
            exact: 0.0,
            stored: 0.0,
        };
    }
    let inverse = -127.0 / largest;
    for (code, x) in codes.iter_mut().zip(x) {
        *code = nearest_int(*x * inverse) as i8;
    }
    let scale = 1.0 / inverse;
    Scale {
        exact: scale,
        stored: scale,
    }
}
