//! Rows of activations, rounded to levels.

use rayon::prelude::*;

use super::form::{Form, LARGE_BLOCK, Rounding, SMALL_BLOCK};
use super::{Operands, kernel};
use crate::f16;
use crate::round::nearest_int;

/// Rows of activations rounded for products with weights of one form.
#[derive(Clone, Debug)]
pub struct Activations {
    pub(crate) form: Form,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// One level for each number.
    codes: Vec<i8>,
    /// Where the blocks are large one scale for each, else one for each group of weights.
    scales: Vec<f32>,
    /// For each group the sum of its levels times the code that stands for zero, negative.
    starts: Vec<i32>,
    /// For each group what the weights' offset is multiplied with.
    sums: Vec<f32>,
}

/// Rows that a thread takes at a time.
const ROWS_AT_ONCE: usize = 8;

impl Activations {
    /// Rounds `x`, rows of `cols` numbers.
    ///
    /// # Panics
    /// When `x` is not whole rows, or a row is not whole blocks of the form.
    pub fn new(form: Form, cols: usize, x: &[f32]) -> Self {
        let rows = x.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, x.len(), "whole rows");
        assert!(cols.is_multiple_of(form.block()), "whole blocks");
        let groups = cols / form.group;
        let scales = if form.large() { cols / LARGE_BLOCK } else { groups };
        let mut new = Self {
            form,
            rows,
            cols,
            codes: vec![0; x.len()],
            scales: vec![0.0; rows * scales],
            starts: vec![0; rows * groups],
            sums: vec![0.0; rows * groups],
        };
        if rows == 0 {
            return new;
        }
        let kernel = kernel();
        x.par_chunks_exact(cols)
            .zip(new.codes.par_chunks_exact_mut(cols))
            .zip(new.scales.par_chunks_exact_mut(scales))
            .zip(new.starts.par_chunks_exact_mut(groups))
            .zip(new.sums.par_chunks_exact_mut(groups))
            .with_min_len(ROWS_AT_ONCE)
            .for_each(|((((x, codes), scales), starts), sums)| {
                let row = Rounded {
                    codes,
                    scales,
                    starts,
                    sums,
                };
                (kernel.round)(form, x, row);
            });
        new
    }

    /// Some rows as the kernels read them, without the weights.
    pub(crate) fn operands(&self, first: usize, count: usize) -> Operands<'_> {
        let part = |len: usize| first * (len / self.rows)..(first + count) * (len / self.rows);
        Operands {
            form: self.form,
            cols: self.cols,
            rows: count,
            codes: &self.codes[part(self.codes.len())],
            x_scales: &self.scales[part(self.scales.len())],
            starts: &self.starts[part(self.starts.len())],
            sums: &self.sums[part(self.sums.len())],
            panel: &[],
            scales: &[],
            offsets: &[],
        }
    }
}

/// A row's places in [`Activations`].
pub(crate) struct Rounded<'a> {
    codes: &'a mut [i8],
    scales: &'a mut [f32],
    starts: &'a mut [i32],
    sums: &'a mut [f32],
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

/// What a level stands for.
struct Scale {
    exact: f32,
    stored: f32,
}

/// The largest magnitude; not a number where one of `x` is none, so that it shows in every product.
#[inline(always)]
fn largest_magnitude(x: &[f32]) -> f32 {
    // Bit patterns of magnitudes are in the order of what they stand for, and integers have lanes.
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

/// The same with the opposite sign of the largest in the scale, which stays as it is.
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
