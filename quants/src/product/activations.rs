//! Rows of activations, rounded to levels.

use rayon::prelude::*;

use super::form::Form;
use super::kernel::Kernel;
use super::rounding::Rounded;
use crate::isa::product::{LARGE_BLOCK, Operands};

/// Rows of activations rounded for products with weights of one form.
#[derive(Clone, Debug)]
pub struct Activations {
    pub(crate) form: Form,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// One level for each number.
    codes: Vec<i8>,
    /// One for each block where blocks are large, else one for each group of weights.
    scales: Vec<f32>,
    /// For each group the sum of its levels times the code that stands for zero, negative.
    starts: Vec<i32>,
    /// For each group the factor of the weights' offset.
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
        let kernel = Kernel::active();
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
                kernel.round(form, x, row);
            });
        new
    }

    /// Some rows as the kernels read them, without the weights.
    pub(crate) fn operands(&self, first: usize, count: usize) -> Operands<'_> {
        let groups = self.cols / self.form.group;
        let scales = if self.form.large() {
            self.cols / LARGE_BLOCK
        } else {
            groups
        };
        let part = |of_row: usize| first * of_row..(first + count) * of_row;
        Operands {
            group: self.form.group,
            large: self.form.large(),
            with_offsets: self.form.offsets,
            zero: self.form.zero,
            largest: self.form.largest,
            cols: self.cols,
            rows: count,
            codes: &self.codes[part(self.cols)],
            x_scales: &self.scales[part(scales)],
            starts: &self.starts[part(groups)],
            sums: &self.sums[part(groups)],
            panel: &[],
            scales: &[],
            offsets: &[],
        }
    }
}
