//! The inner loop of the products, and which instruction set runs it.

use std::sync::OnceLock;

use gguf::TensorType;

use super::form::{Form, LARGE_BLOCK};
use super::{ROWS, Rounded, Row, expand, round_row};
use crate::isa::{self, Isa};

/// Rows of activations that a kernel takes at most: as many as registers hold the sums of.
pub const TOKENS: usize = 4;

/// What a kernel multiplies: one panel of weights with a few rows of activations.
pub(crate) struct Operands<'a> {
    pub(crate) form: Form,
    pub(crate) cols: usize,
    /// Rows of activations.
    pub(crate) rows: usize,
    pub(crate) codes: &'a [i8],
    pub(crate) x_scales: &'a [f32],
    pub(crate) starts: &'a [i32],
    pub(crate) sums: &'a [f32],
    pub(crate) panel: &'a [u8],
    pub(crate) scales: &'a [f32],
    pub(crate) offsets: &'a [f32],
}

impl Operands<'_> {
    /// Groups of a row.
    pub(crate) fn groups(&self) -> usize {
        self.cols / self.form.group
    }

    /// Scales of a row of activations.
    pub(crate) fn row_scales(&self) -> usize {
        if self.form.large() {
            self.cols / LARGE_BLOCK
        } else {
            self.groups()
        }
    }

    /// Holds if kernels may read all that they read.
    ///
    /// # Panics
    /// When something is missing.
    pub(crate) fn check(&self) {
        let groups = self.groups();
        assert!(self.rows <= TOKENS && self.cols.is_multiple_of(self.form.block()));
        assert!(matches!(self.form.group, 16 | 32));
        assert_eq!(self.codes.len(), self.rows * self.cols);
        assert_eq!(self.x_scales.len(), self.rows * self.row_scales());
        assert_eq!(self.starts.len(), self.rows * groups);
        assert_eq!(self.sums.len(), self.rows * groups);
        assert_eq!(self.panel.len(), ROWS * self.cols);
        assert_eq!(self.scales.len(), ROWS * groups);
        assert_eq!(
            self.offsets.len(),
            if self.form.offsets { ROWS * groups } else { 0 }
        );
    }
}

/// Multiplies operands that were checked.
pub(crate) type Multiply = fn(&Operands<'_>, &mut [[f32; ROWS]; TOKENS]);

/// Expands whole blocks.
pub(crate) type Expand = fn(TensorType, &[u8], Row<'_>);

/// Rounds a row of activations.
pub(crate) type Round = fn(Form, &[f32], Rounded<'_>);

/// An instruction set's part of the products.
pub(crate) struct Kernel {
    pub(crate) multiply: Multiply,
    pub(crate) expand: Expand,
    pub(crate) round: Round,
}

/// The specification of all others.
pub(crate) static SCALAR: Kernel = Kernel {
    multiply: scalar,
    expand: |ty, src, row| expand(ty, src, row),
    round: |form, x, row| round_row(form, x, row),
};

/// The kernel of the instruction set in use.
pub(crate) fn kernel() -> &'static Kernel {
    static ACTIVE: OnceLock<&'static Kernel> = OnceLock::new();
    ACTIVE.get_or_init(|| isa::product(Isa::active()).unwrap_or(&SCALAR))
}

/// Sums within a group are integers. They are scaled, summed over the groups in order, and scaled with the
/// activations' scale: after each group where blocks are small, after each block where they are large.
#[inline(always)]
pub(crate) fn scalar(operands: &Operands<'_>, out: &mut [[f32; ROWS]; TOKENS]) {
    let (form, groups) = (operands.form, operands.groups());
    let per_block = LARGE_BLOCK / form.group;
    for (token, out) in out.iter_mut().enumerate().take(operands.rows) {
        let x_scales = &operands.x_scales[token * operands.row_scales()..];
        let mut total = [0f32; ROWS];
        let mut block = [0f32; ROWS];
        for group in 0..groups {
            let start = operands.starts[token * groups + group];
            let codes = &operands.codes[token * operands.cols + group * form.group..][..form.group];
            let panel = &operands.panel[group * form.group * ROWS..][..form.group * ROWS];
            let sums = sums(start, codes, panel);
            let sum = operands.sums[token * groups + group];
            for row in 0..ROWS {
                let scale = operands.scales[group * ROWS + row];
                let into = if form.large() {
                    &mut block[row]
                } else {
                    &mut total[row]
                };
                *into = if form.large() {
                    (sums[row] as f32).mul_add(scale, *into)
                } else {
                    (sums[row] as f32 * scale).mul_add(x_scales[group], *into)
                };
                if form.offsets {
                    *into = operands.offsets[group * ROWS + row].mul_add(sum, *into);
                }
            }
            if form.large() && (group + 1).is_multiple_of(per_block) {
                for row in 0..ROWS {
                    total[row] = block[row].mul_add(x_scales[group / per_block], total[row]);
                    block[row] = 0.0;
                }
            }
        }
        *out = total;
    }
}

/// Of each row the sum of codes times levels, from `start` on.
#[inline(always)]
fn sums(start: i32, codes: &[i8], panel: &[u8]) -> [i32; ROWS] {
    let mut sums = [start; ROWS];
    for (codes, panel) in codes
        .as_chunks::<4>()
        .0
        .iter()
        .zip(panel.as_chunks::<{ 4 * ROWS }>().0)
    {
        for (sum, weights) in sums.iter_mut().zip(panel.as_chunks::<4>().0) {
            for (code, weight) in codes.iter().zip(weights) {
                *sum += i32::from(*code) * i32::from(*weight);
            }
        }
    }
    sums
}
