//! Error feedback: rows encoded a span of columns at a time, each on targets that make up for the errors so far.
//!
//! After "GPTQ" (Frantar et al., 2022) in the form of "QuIP" (Chee et al., 2023): with H = M Mᵀ and M upper
//! triangular, the target of column j is w_j + Σ_{i<j} (w_i − ŵ_i) M_ij / M_jj, and the error that is left weighs M_jj².

use gguf::TensorType;
use quants::parts::layout;
use reference::portable::{Strided, wide};

use crate::block::{Block, Format, inverse, search};
use crate::hessian::{Metric, SPAN, spans};
use crate::refine;

/// Rows that are encoded together.
pub(crate) const ROWS: usize = 24;
/// Passes of refinement.
const SWEEPS: usize = 2;

/// An encoder of rows of one length under one metric.
pub(crate) struct RowEncoder<'m> {
    format: Format,
    metric: &'m Metric,
}

impl<'m> RowEncoder<'m> {
    /// `None` for types whose blocks cannot be taken apart.
    pub(crate) fn new(ty: TensorType, metric: &'m Metric) -> Option<Self> {
        let layout = layout(ty)?;
        metric.columns.is_multiple_of(layout.block).then_some(Self {
            format: Format::new(layout),
            metric,
        })
    }

    /// Encodes at most [`ROWS`] rows.
    ///
    /// # Errors
    /// Never for rows and blocks of the lengths that belong together.
    pub(crate) fn encode(&self, rows: &[f32], out: &mut [u8]) -> Result<(), quants::Error> {
        let n = self.metric.columns;
        let count = rows.len() / n;
        let per_row = n / self.format.layout.block;
        let mut errors = vec![0.0; rows.len()];
        let mut blocks: Vec<Block> = Vec::with_capacity(count * per_row);
        // Span after span, and in a span block after block, the blocks of all rows.
        for (index, span) in spans(n).enumerate() {
            let width = span.len();
            let mut targets = vec![0.0; count * width];
            if span.start > 0 {
                let lhs = Strided {
                    data: &errors,
                    rows: count,
                    columns: span.start,
                    row_stride: n,
                    column_stride: 1,
                };
                self.metric
                    .feedback
                    .multiply(lhs, span.clone(), &mut targets, width, 1.0);
            }
            for (target, row) in targets.chunks_exact_mut(width).zip(rows.chunks_exact(n)) {
                for (t, w) in target.iter_mut().zip(&row[span.clone()]) {
                    *t += w;
                }
            }
            for first in (0..width).step_by(self.format.layout.block) {
                let columns = span.start + first..span.start + first + self.format.layout.block;
                let mut found =
                    self.search(&targets, width, first, &self.metric.importance[columns.clone()])?;
                for (r, block) in found.iter_mut().enumerate() {
                    let target = &mut targets[r * width..][..width];
                    let at = r * n;
                    let (row, errors) = (&rows[at..at + n], &mut errors[at..at + n]);
                    wide(
                        #[inline(always)]
                        || {
                            round_columns(
                                &self.format,
                                block,
                                &row[columns.clone()],
                                &mut errors[columns.clone()],
                                target,
                                first,
                                &self.metric.near_feedback[index],
                            );
                        },
                    );
                }
                blocks.append(&mut found);
            }
        }
        for _ in 0..SWEEPS {
            self.refine(&mut errors, &mut blocks, count);
        }
        self.pack(&blocks, count, out);
        Ok(())
    }

    /// Blocks of all rows for the targets of some columns of a span.
    fn search(
        &self,
        targets: &[f32],
        width: usize,
        first: usize,
        importance: &[f32],
    ) -> Result<Vec<Block>, quants::Error> {
        let layout = self.format.layout;
        let packed: Vec<f32> = targets
            .chunks_exact(width)
            .flat_map(|row| &row[first..first + layout.block])
            .copied()
            .collect();
        let count = targets.len() / width;
        let mut bytes = vec![0; count * layout.bytes()];
        quants::encode(layout.ty, &packed, layout.block, Some(importance), &mut bytes)?;
        Ok(bytes
            .chunks_exact(layout.bytes())
            .zip(packed.chunks_exact(layout.block))
            .map(|(bytes, target)| {
                let mut block = self.format.unpack(bytes);
                wide(
                    #[inline(always)]
                    || search(&self.format, target, importance, &mut block),
                );
                block
            })
            .collect())
    }

    fn refine(&self, errors: &mut [f32], blocks: &mut [Block], count: usize) {
        let n = self.metric.columns;
        let size = self.format.layout.block;
        for (index, span) in spans(n).enumerate() {
            let width = span.len();
            let mut gradients = vec![0.0; count * width];
            let lhs = Strided::rows(errors, count, n);
            self.metric
                .hessian
                .multiply(lhs, span.clone(), &mut gradients, width, 1.0);
            let near = &self.metric.near_hessian[index];
            for r in 0..count {
                let errors = &mut errors[r * n..][span.clone()];
                let gradients = &mut gradients[r * width..][..width];
                for first in (0..width).step_by(size) {
                    // The order in which blocks were found.
                    let at = (index * SPAN + first) / size * count + r;
                    let block = &mut blocks[at];
                    wide(
                        #[inline(always)]
                        || refine::block(&self.format, block, errors, gradients, near, first),
                    );
                }
            }
        }
    }

    fn pack(&self, blocks: &[Block], count: usize, out: &mut [u8]) {
        let bytes = self.format.layout.bytes();
        let per_row = blocks.len() / count.max(1);
        for (r, row) in out.chunks_exact_mut(per_row * bytes).enumerate() {
            for (b, bytes) in row.chunks_exact_mut(bytes).enumerate() {
                self.format.pack(&blocks[b * count + r], bytes);
            }
        }
    }
}

/// Rounds a block's columns one after the other; the error of each shifts the targets of those that follow in its
/// span.
#[inline(always)]
fn round_columns(
    format: &Format,
    block: &mut Block,
    row: &[f32],
    errors: &mut [f32],
    target: &mut [f32],
    first: usize,
    near: &[f32],
) {
    let width = target.len();
    let sub_block = format.layout.sub_block;
    for i in 0..row.len() {
        let s = i / sub_block;
        let (scale, min) = block.scale_and_min(s);
        let level = format.grid.nearest((target[first + i] + min) * inverse(scale));
        block.levels[i] = level;
        let error = row[i] - block.value(s, level);
        errors[i] = error;
        let column = first + i;
        let factors = &near[column * width + column + 1..(column + 1) * width];
        for (t, f) in target[column + 1..].iter_mut().zip(factors) {
            *t += error * f;
        }
    }
}

/// Encodes rows block by block, without regard to how errors of different columns meet. `importance` counts for every
/// row.
#[cfg(test)]
pub(crate) fn search_blocks(
    ty: TensorType,
    rows: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), quants::Error> {
    quants::encode(ty, rows, columns, importance, out)?;
    let Some(layout) = layout(ty) else {
        return Ok(());
    };
    let format = Format::new(layout);
    let even = vec![1.0; columns];
    let importance = importance.unwrap_or(&even);
    let blocks = out.chunks_exact_mut(layout.bytes());
    for (index, (x, bytes)) in rows.chunks_exact(layout.block).zip(blocks).enumerate() {
        let first = index * layout.block % columns;
        let importance = &importance[first..first + layout.block];
        let mut block = format.unpack(bytes);
        wide(
            #[inline(always)]
            || search(&format, x, importance, &mut block),
        );
        format.pack(&block, bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
