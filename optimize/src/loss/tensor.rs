//! A tensor whose blocks' scales move, levels and scales of sub-blocks as they are.

use std::ops::Range;
use std::sync::Arc;

use gguf::TensorType;
use quants::f16;
use quants::parts::factors;
use rayon::prelude::*;
use reference::portable::{Panels, Strided};

use super::moving::Moving;
use crate::block::stored;

/// Rows whose gradients exist at a time, for each thread.
const ROWS: usize = 48;
/// One, in half precision.
const ONE: u16 = 0x3c00;

/// A tensor's blocks, and the numbers in them that move: those that [`factors`] names, block after block.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) ty: TensorType,
    pub(super) blocks: Arc<[u8]>,
    columns: usize,
    row_bytes: usize,
    offsets: &'static [usize],
    pub(super) scales: Moving,
}

impl Tensor {
    /// `blocks` are whole rows of `columns` weights.
    pub(super) fn new(name: String, ty: TensorType, blocks: Arc<[u8]>, columns: usize) -> Self {
        let offsets = factors(ty);
        let scales = blocks
            .chunks_exact(ty.block_bytes())
            .flat_map(|block| offsets.iter().map(|&at| half(block, at)))
            .collect();
        Self {
            name,
            ty,
            columns,
            row_bytes: columns / ty.block_len() * ty.block_bytes(),
            blocks,
            offsets,
            scales: Moving::new(scales),
        }
    }

    /// Numbers that move.
    #[cfg(test)]
    pub(super) fn numbers(&self) -> usize {
        self.scales.start.len()
    }

    /// Numbers of a row.
    fn per_row(&self) -> usize {
        self.columns / self.ty.block_len() * self.offsets.len()
    }

    /// Adds the gradient that a product has with respect to the numbers of some rows. `input` is tokens x columns,
    /// `gradient` tokens x rows; it counts by `share`.
    ///
    /// The gradient with respect to a weight is Σ g·x over tokens, and the weights of a block are the sum of its
    /// numbers, each times what the block decodes to with this number one and the others zero.
    pub(super) fn add(
        &mut self,
        rows: Range<usize>,
        input: Strided<'_>,
        gradient: Strided<'_>,
        share: f32,
    ) -> Result<(), quants::Error> {
        let (columns, row_bytes, per_row) = (self.columns, self.row_bytes, self.per_row());
        if per_row == 0 || input.rows == 0 {
            return Ok(());
        }
        let panels = Panels::new(input);
        let lhs = gradient.transposed();
        let range = rows.start * per_row..rows.end * per_row;
        let blocks = &self.blocks[rows.start * row_bytes..rows.end * row_bytes];
        let (ty, offsets) = (self.ty, self.offsets);
        self.scales.gradient[range.clone()]
            .par_chunks_mut(ROWS * per_row)
            .zip(self.scales.start[range].par_chunks(ROWS * per_row))
            .zip(blocks.par_chunks(ROWS * row_bytes))
            .enumerate()
            .try_for_each(|(chunk, ((sums, start), blocks))| {
                let count = blocks.len() / row_bytes;
                let part = Strided {
                    data: &lhs.data[chunk * ROWS * lhs.row_stride..],
                    rows: count,
                    ..lhs
                };
                let mut of_weights = vec![0.0; count * columns];
                panels.multiply(part, 0..columns, &mut of_weights, columns, share);
                add(ty, offsets, blocks, &of_weights, start, sums)
            })
    }

    /// The same of rows that are looked up, one for each token.
    pub(super) fn look_up(
        &mut self,
        tokens: &[u32],
        gradient: &[f32],
        share: f32,
    ) -> Result<(), quants::Error> {
        let per_row = self.per_row();
        if per_row == 0 {
            return Ok(());
        }
        for (&token, gradient) in tokens.iter().zip(gradient.chunks_exact(self.columns)) {
            let row = token as usize;
            let range = row * per_row..(row + 1) * per_row;
            let of_weights: Vec<f32> = gradient.iter().map(|g| g * share).collect();
            add(
                self.ty,
                self.offsets,
                &self.blocks[row * self.row_bytes..][..self.row_bytes],
                &of_weights,
                &self.scales.start[range.clone()],
                &mut self.scales.gradient[range],
            )?;
        }
        Ok(())
    }

    /// Puts the numbers as they are now into the blocks, rounded to what is stored.
    pub(super) fn write(&mut self) {
        let (bytes, offsets) = (self.ty.block_bytes(), self.offsets);
        if offsets.is_empty() {
            return;
        }
        let mut values = self.scales.values();
        for block in Arc::make_mut(&mut self.blocks).chunks_exact_mut(bytes) {
            for &at in offsets {
                let now = half(block, at);
                let value = values.next().map_or(now, |value| stored(f64::from(value), now));
                block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
            }
        }
    }
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Adds to `sums` what the gradient with respect to the weights of these blocks is with respect to shares of their
/// numbers, which began as `start`.
fn add(
    ty: TensorType,
    offsets: &[usize],
    blocks: &[u8],
    of_weights: &[f32],
    start: &[f32],
    sums: &mut [f32],
) -> Result<(), quants::Error> {
    let mut unit = blocks.to_vec();
    let mut slopes = vec![0.0; of_weights.len()];
    for (which, _) in offsets.iter().enumerate() {
        for block in unit.chunks_exact_mut(ty.block_bytes()) {
            for (other, &at) in offsets.iter().enumerate() {
                let value = if other == which { ONE } else { 0 };
                block[at..at + 2].copy_from_slice(&value.to_le_bytes());
            }
        }
        quants::decode(ty, &unit, &mut slopes)?;
        let each = of_weights
            .chunks_exact(ty.block_len())
            .zip(slopes.chunks_exact(ty.block_len()));
        let numbers = sums.iter_mut().zip(start).skip(which).step_by(offsets.len());
        for ((g, slopes), (sum, start)) in each.zip(numbers) {
            *sum += (product(g, slopes) * f64::from(*start)) as f32;
        }
    }
    Ok(())
}

/// The product of two vectors, in a fixed order.
fn product(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0f64; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum()
}
