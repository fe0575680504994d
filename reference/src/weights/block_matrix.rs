//! Matrices that stay as stored and are decoded a tile of rows at a time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use gguf::{GgufModel, TensorType};
use quants::product::{Activations, Form, Panels, TOKENS};
use rayon::prelude::*;

use crate::ops::{Matrix, Parallel, Products, View, ViewMut};
use crate::{Error, Result};

/// Decoded weights held at a time. Larger tiles amortize the hand-over between threads and the packing
/// inside the product; this one still fits a shared cache.
pub(crate) const TILE_BYTES: usize = 8 << 20;

/// Decoded weights that a thread takes at a time.
const DECODE_ELEMENTS: usize = 32 * 1024;

/// Weights held at a time for products of integers: fewer bytes than [`TILE_BYTES`].
const PANEL_WEIGHTS: usize = (TILE_BYTES as f64 / Panels::BYTES_PER_WEIGHT) as usize;

/// Shares of a product of integers for each thread.
const SHARES: usize = 4;

/// Rows of activations that go through all weights of a tile before the next: few enough for a core's cache.
const TOKENS_AT_ONCE: usize = 96;

thread_local! {
    /// The blocks that a thread decodes.
    static BLOCKS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A tensor that stands in for a file's.
#[derive(Clone, Debug)]
pub(crate) enum Other {
    /// Its type and blocks.
    Blocks(TensorType, Arc<[u8]>),
    /// The tensor of this index in another file.
    Tensor(Arc<GgufModel>, usize),
}

/// Tensors that stand in for a file's, by index in the model's tensor order.
pub(crate) type Replaced = HashMap<usize, Other>;

/// Reader of the blocks of a model's tensors.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) gguf: &'a GgufModel,
    /// Tensors that are not taken from the file.
    pub(crate) replaced: Option<&'a Replaced>,
}

impl<'a> From<&'a GgufModel> for Weights<'a> {
    fn from(gguf: &'a GgufModel) -> Self {
        Self { gguf, replaced: None }
    }
}

/// A matrix, or a stack of one for each expert, of `outputs` rows of `inputs` weights: one tensor.
#[derive(Clone, Debug)]
pub(crate) struct BlockMatrix {
    pub(crate) name: String,
    /// Index in the model's tensor order.
    pub(crate) tensor: usize,
    pub(crate) ty: TensorType,
    /// Row length.
    pub(crate) inputs: usize,
    /// Rows of one matrix of the stack.
    pub(crate) outputs: usize,
    pub(crate) row_bytes: usize,
}

impl BlockMatrix {
    /// Decodes consecutive rows of the stack into `out`, whole rows. Each thread reads the blocks it decodes,
    /// so that what is held of the file stays small and in a cache.
    pub(crate) fn decode<'a>(
        &self,
        weights: impl Into<Weights<'a>>,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let Weights { gguf, replaced } = weights.into();
        match replaced.and_then(|r| r.get(&self.tensor)) {
            None => self.decode_from(gguf, self.tensor, self.ty, first_row, out),
            Some(Other::Blocks(ty, blocks)) => self.decode_replaced(gguf, *ty, blocks, first_row, out),
            Some(Other::Tensor(gguf, tensor)) => {
                self.decode_from(gguf, *tensor, gguf.info(*tensor).ty, first_row, out)
            }
        }
    }

    /// [`Self::decode`] from a tensor of a file, which has this matrix's shape.
    fn decode_from(
        &self,
        gguf: &GgufModel,
        tensor: usize,
        ty: TensorType,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let row_bytes = match tensor == self.tensor && ty == self.ty {
            true => self.row_bytes,
            false => ty.row_bytes(self.inputs as u64).unwrap_or(0) as usize,
        };
        let rows_at_once = (DECODE_ELEMENTS / self.inputs).max(1);
        out.par_chunks_mut(rows_at_once * self.inputs)
            .enumerate()
            .try_for_each(|(chunk, out)| {
                let row = first_row as u64 + (chunk * rows_at_once) as u64;
                let bytes = out.len() / self.inputs * row_bytes;
                BLOCKS.with_borrow_mut(|blocks| {
                    if blocks.len() < bytes {
                        blocks.resize(bytes, 0);
                    }
                    let blocks = &mut blocks[..bytes];
                    gguf.read(tensor, row * row_bytes as u64, blocks)?;
                    quants::decode(ty, blocks, out).map_err(|e| Error::Model {
                        path: gguf.files()[gguf.file_of(tensor)].path().to_owned(),
                        message: format!("tensor '{}': {e}", self.name),
                    })
                })
            })
    }

    /// [`Self::decode`] from other blocks than the file's.
    fn decode_replaced(
        &self,
        gguf: &GgufModel,
        ty: TensorType,
        blocks: &[u8],
        first_row: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let row_bytes = ty.row_bytes(self.inputs as u64).unwrap_or(0) as usize;
        let rows_at_once = (DECODE_ELEMENTS / self.inputs).max(1);
        out.par_chunks_mut(rows_at_once * self.inputs)
            .enumerate()
            .try_for_each(|(chunk, out)| {
                let first = (first_row + chunk * rows_at_once) * row_bytes;
                let last = first + out.len() / self.inputs * row_bytes;
                let error = |what: String| Error::Model {
                    path: gguf.files()[gguf.file_of(self.tensor)].path().to_owned(),
                    message: format!("tensor '{}': {what}", self.name),
                };
                let blocks = blocks
                    .get(first..last)
                    .ok_or_else(|| error(format!("expected {last} bytes, found {}", blocks.len())))?;
                quants::decode(ty, blocks, out).map_err(|e| error(e.to_string()))
            })
    }

    /// Rows that one tile holds.
    pub(crate) fn tile_rows(&self) -> usize {
        (TILE_BYTES / size_of::<f32>() / self.inputs).clamp(1, self.outputs)
    }

    /// `out = x * W^T` for consecutive rows of the stack as W: `x` tokens x inputs, `out` tokens x
    /// rows.len(). `tile` is working memory.
    pub(crate) fn multiply(
        &self,
        weights: Weights<'_>,
        products: Products,
        rows: Range<usize>,
        x: &Matrix,
        out: &mut Matrix,
        tile: &mut Vec<f32>,
    ) -> Result<()> {
        if x.rows == 0 {
            return Ok(());
        }
        let step = self.tile_rows();
        for first in rows.clone().step_by(step) {
            let count = step.min(rows.end - first);
            tile.resize(count * self.inputs, 0.0);
            self.decode(weights, first, tile)?;
            let width = out.cols;
            products.multiply(
                ViewMut::strided(&mut out.data[first - rows.start..], x.rows, count, width),
                x.view(),
                View::rows(tile, count, self.inputs).transposed(),
                1.0,
                Parallel::Yes,
            );
        }
        Ok(())
    }

    /// [`Self::multiply`] in integers, of activations rounded to levels.
    pub(crate) fn multiply_levels(
        &self,
        gguf: &GgufModel,
        form: Form,
        rows: Range<usize>,
        x: &Activations,
        out: &mut Matrix,
        panels: &mut Panels,
    ) -> Result<()> {
        if out.rows == 0 {
            return Ok(());
        }
        let step = (PANEL_WEIGHTS / self.inputs).clamp(1, self.outputs);
        // A share of the rows for each thread and more, so that none waits long for the last.
        let share = out.rows.div_ceil(SHARES * rayon::current_num_threads());
        let share = share.next_multiple_of(TOKENS).min(TOKENS_AT_ONCE);
        let width = out.cols;
        for first in rows.clone().step_by(step) {
            let count = step.min(rows.end - first);
            panels.fill(form, count, self.inputs, |row, blocks| {
                let row = (first + row) as u64;
                gguf.read(self.tensor, row * self.row_bytes as u64, blocks)
            })?;
            let panels = &*panels;
            out.data
                .par_chunks_mut(share * width)
                .enumerate()
                .for_each(|(chunk, out)| {
                    panels.multiply(x, chunk * share, &mut out[first - rows.start..], width);
                });
        }
        Ok(())
    }
}
