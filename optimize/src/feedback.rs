//! Error feedback: rows encoded a span of columns at a time, each on targets that make up for the errors so far.
//!
//! After "GPTQ" (Frantar et al., 2022) in the form of "QuIP" (Chee et al., 2023): with H = M Mᵀ and M upper
//! triangular, the target of column j is w_j + Σ_{i<j} (w_i − ŵ_i) M_ij / M_jj, and the error that is left weighs M_jj².

use gguf::TensorType;
use reference::portable::{Strided, wide};

use crate::block::{Block, Format, search};
use crate::metric::{Metric, SPAN, spans};
use crate::refine;
use crate::sub_block::{Corners, Wanted, choose};

/// Rows that are encoded together.
pub(crate) const ROWS: usize = 24;
/// Passes of refinement.
const SWEEPS: usize = 4;

/// An encoder of rows of one length under one metric.
pub(crate) struct RowEncoder<'m> {
    format: Format,
    metric: &'m Metric,
    corners: Corners,
}

impl<'m> RowEncoder<'m> {
    /// `None` for types whose blocks cannot be taken apart.
    pub(crate) fn new(ty: TensorType, metric: &'m Metric) -> Option<Self> {
        let format = Format::new(ty).filter(|format| metric.columns.is_multiple_of(format.block))?;
        Some(Self {
            corners: Corners::new(metric, format.sub_block)?,
            format,
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
        let per_row = n / self.format.block;
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
            for first in (0..width).step_by(self.format.block) {
                let columns = span.start + first..span.start + first + self.format.block;
                let mut found =
                    self.search(&targets, width, first, &self.metric.importance[columns.clone()])?;
                for (r, block) in found.iter_mut().enumerate() {
                    let target = &mut targets[r * width..][..width];
                    let at = r * n;
                    let (row, errors) = (&rows[at..at + n], &mut errors[at..at + n]);
                    let part = Part {
                        first,
                        row: &row[columns.clone()],
                        weights: &self.metric.importance[columns.clone()],
                        near: &self.metric.near_feedback[index],
                    };
                    let errors = &mut errors[columns.clone()];
                    wide(
                        #[inline(always)]
                        || match self.format.sub_block {
                            16 => round::<16>(&self.format, block, &part, errors, target),
                            _ => round::<32>(&self.format, block, &part, errors, target),
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
        let (ty, size) = (self.format.ty, self.format.block);
        let packed: Vec<f32> = targets
            .chunks_exact(width)
            .flat_map(|row| &row[first..first + size])
            .copied()
            .collect();
        let count = targets.len() / width;
        let mut bytes = vec![0; count * ty.block_bytes()];
        quants::encode(ty, &packed, size, Some(importance), &mut bytes)?;
        Ok(bytes
            .chunks_exact(ty.block_bytes())
            .zip(packed.chunks_exact(size))
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
        let size = self.format.block;
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
                        || {
                            let corners = self.corners.from(span.start + first);
                            refine::block(&self.format, block, errors, gradients, near, first, &corners);
                        },
                    );
                }
            }
        }
    }

    fn pack(&self, blocks: &[Block], count: usize, out: &mut [u8]) {
        let bytes = self.format.ty.block_bytes();
        let per_row = blocks.len() / count.max(1);
        for (r, row) in out.chunks_exact_mut(per_row * bytes).enumerate() {
            for (b, bytes) in row.chunks_exact_mut(bytes).enumerate() {
                self.format.pack(&blocks[b * count + r], bytes);
            }
        }
    }
}

/// The columns of a block in a span.
struct Part<'a> {
    /// The first of them.
    first: usize,
    /// Their weights, and how much errors count.
    row: &'a [f32],
    weights: &'a [f32],
    /// The span's feedback.
    near: &'a [f32],
}

/// Rounds a block's columns, a sub-block at a time; the errors shift the targets of those that follow in its span.
#[inline(always)]
fn round<const S: usize>(
    format: &Format,
    block: &mut Block,
    part: &Part<'_>,
    errors: &mut [f32],
    target: &mut [f32],
) {
    let (width, near) = (target.len(), part.near);
    let chunks = part.row.as_chunks::<S>().0.iter().zip(part.weights.as_chunks().0);
    for (s, (row, weights)) in chunks.enumerate() {
        let at = part.first + s * S;
        let (done, later) = target.split_at_mut(at + S);
        choose(
            format,
            block,
            s,
            &Wanted {
                row,
                target: done[at..].first_chunk::<S>().expect("a sub-block"),
                weights,
                feedback: &near[at * width + at..],
                stride: width,
            },
        );
        for i in 0..S {
            let error = row[i] - block.value(s, block.levels[s * S + i]);
            errors[s * S + i] = error;
            let factors = &near[(at + i) * width + at + S..(at + i + 1) * width];
            for (t, f) in later.iter_mut().zip(factors) {
                *t += error * f;
            }
        }
    }
}

#[cfg(test)]
mod tests;
