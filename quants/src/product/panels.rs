//! Weights as the kernels read them: 32 rows side by side.

use rayon::prelude::*;

use super::activations::Activations;
use super::form::Form;
use super::kernel::Kernel;
use crate::formats::Row;
use crate::isa::product::{Destination, Operands, PART, ROWS};

/// Rows of weights in the form of the products.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    form: Option<Form>,
    rows: usize,
    cols: usize,
    /// For each panel, each of its parts and four columns: of each row of the part four codes.
    codes: Vec<u8>,
    /// For each panel and group: of each row its scale.
    scales: Vec<f32>,
    /// As `scales`, where the form has offsets.
    offsets: Vec<f32>,
}

impl Panels {
    /// Bytes that a weight takes at most.
    pub const BYTES_PER_WEIGHT: f64 = 1.5;

    /// Fills with `rows` rows of `cols` weights. `read(row, blocks)` reads the blocks of rows from `row` on.
    ///
    /// # Errors
    /// Those of `read`.
    ///
    /// # Panics
    /// When a row is not whole blocks.
    pub fn fill<E: Send>(
        &mut self,
        form: Form,
        rows: usize,
        cols: usize,
        read: impl Fn(usize, &mut [u8]) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        assert!(cols > 0 && cols.is_multiple_of(form.block()) && cols.is_multiple_of(form.ty.block_len()));
        let (panels, groups) = (rows.div_ceil(ROWS), cols / form.group);
        self.form = Some(form);
        (self.rows, self.cols) = (rows, cols);
        self.codes.resize(panels * ROWS * cols, 0);
        self.scales.resize(panels * ROWS * groups, 0.0);
        let with_offsets = if form.offsets { panels * ROWS * groups } else { 0 };
        self.offsets.resize(with_offsets, 0.0);
        let kernel = Kernel::active();
        let row_bytes = cols / form.ty.block_len() * form.ty.block_bytes();
        let each = |panel: usize,
                    working: &mut Working,
                    codes: &mut [u8],
                    scales: &mut [f32],
                    offsets: &mut [f32]| {
            let first = panel * ROWS;
            let count = ROWS.min(rows - first);
            working.blocks.resize(count * row_bytes, 0);
            read(first, &mut working.blocks)?;
            working.codes.resize(ROWS * cols, 0);
            working.scales.resize(ROWS * groups, 0.0);
            working
                .offsets
                .resize(if form.offsets { ROWS * groups } else { 0 }, 0.0);
            for (row, blocks) in working.blocks.chunks_exact(row_bytes).enumerate() {
                kernel.expand(
                    form.ty,
                    blocks,
                    Row {
                        codes: &mut working.codes[row * cols..][..cols],
                        scales: &mut working.scales[row * groups..][..groups],
                        offsets: working
                            .offsets
                            .get_mut(row * groups..(row + 1) * groups)
                            .unwrap_or_default(),
                    },
                );
            }
            // Rows that are missing at the end count for nothing.
            working.codes[count * cols..].fill(0);
            working.scales[count * groups..].fill(0.0);
            if form.offsets {
                working.offsets[count * groups..].fill(0.0);
            }
            let parts = codes.chunks_exact_mut(PART * cols);
            for (rows, part) in working.codes.chunks_exact(PART * cols).zip(parts) {
                let (rows, part) = (rows.as_chunks::<4>().0, part.as_chunks_mut::<4>().0);
                interleave::<_, PART>(rows, part, cols / 4);
            }
            interleave::<_, ROWS>(&working.scales, scales, groups);
            if form.offsets {
                interleave::<_, ROWS>(&working.offsets, offsets, groups);
            }
            Ok(())
        };
        let codes = self.codes.par_chunks_exact_mut(ROWS * cols);
        let scales = self.scales.par_chunks_exact_mut(ROWS * groups);
        let panels = codes.zip(scales).enumerate();
        if form.offsets {
            panels
                .zip(self.offsets.par_chunks_exact_mut(ROWS * groups))
                .try_for_each_init(
                    Working::default,
                    |working, ((panel, (codes, scales)), offsets)| {
                        each(panel, working, codes, scales, offsets)
                    },
                )
        } else {
            panels.try_for_each_init(Working::default, |working, (panel, (codes, scales))| {
                each(panel, working, codes, scales, &mut [])
            })
        }
    }

    /// Products of all rows with activations: those of activation row `r` from `first` on go to
    /// `out[(r - first) * stride..]`, one for each row of weights. The length of `out` gives the number of rows of activations.
    ///
    /// # Panics
    /// When the forms or the columns differ, or there are no such rows.
    pub fn multiply(&self, x: &Activations, first: usize, out: &mut [f32], stride: usize) {
        self.multiply_with(Kernel::active(), x, first, out, stride);
    }

    /// [`Self::multiply`] with one kernel.
    pub(crate) fn multiply_with(
        &self,
        kernel: Kernel,
        x: &Activations,
        first: usize,
        out: &mut [f32],
        stride: usize,
    ) {
        assert_eq!(
            (Some(x.form), x.cols),
            (self.form, self.cols),
            "forms and columns"
        );
        if self.rows == 0 {
            return;
        }
        let tokens = (out.len() + stride - self.rows) / stride;
        assert!(
            stride >= self.rows && first + tokens <= x.rows,
            "rows of activations"
        );
        let groups = self.cols / x.form.group;
        for panel in 0..self.rows.div_ceil(ROWS) {
            let of_panel = panel * ROWS * groups..(panel + 1) * ROWS * groups;
            let operands = Operands {
                panel: &self.codes[panel * ROWS * self.cols..][..ROWS * self.cols],
                scales: &self.scales[of_panel.clone()],
                offsets: self.offsets.get(of_panel).unwrap_or_default(),
                ..x.operands(first, tokens)
            };
            let mut to = Destination {
                out: &mut out[panel * ROWS..],
                stride,
                width: ROWS.min(self.rows - panel * ROWS),
            };
            kernel.multiply(&operands, &mut to);
        }
    }
}

/// The buffers of one panel.
#[derive(Default)]
struct Working {
    blocks: Vec<u8>,
    codes: Vec<u8>,
    scales: Vec<f32>,
    offsets: Vec<f32>,
}

/// Puts the elements of `N` rows of `len` side by side.
fn interleave<T: Copy, const N: usize>(rows: &[T], out: &mut [T], len: usize) {
    for (column, out) in out.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        for (row, out) in out.iter_mut().enumerate() {
            *out = rows[row * len + column];
        }
    }
}
