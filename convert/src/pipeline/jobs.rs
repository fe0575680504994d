//! Jobs of a run: for each source tensor its distinct encodings, and pieces of that work.

use std::ops::Range;
use std::sync::Arc;

use gguf::TensorType;

use crate::Result;
use crate::plan::{Encoder, OutputPlan, matrices};
use crate::source::Source;

/// All that is wanted of one source tensor.
#[derive(Clone, Debug)]
pub struct Job {
    /// The source tensor.
    pub source: usize,
    /// Weights in a row.
    pub row_len: usize,
    /// Rows over all stacked matrices.
    pub rows: u64,
    /// Rows of one matrix: importance changes with the matrix.
    pub rows_per_matrix: u64,
    /// The distinct encodings.
    pub targets: Vec<Target>,
}

/// One encoding of a tensor, and who wants it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The type.
    pub ty: TensorType,
    /// Whether the source's bytes are taken as they are.
    pub copied: bool,
    /// Importance of each column, matrix after matrix.
    pub importance: Option<Arc<[f32]>>,
    /// Encoder in place of stock's; `None` for stock's bytes.
    pub encoder: Option<Arc<dyn Encoder>>,
    /// Pairs of output and tensor in that output.
    pub wanted_by: Vec<(usize, usize)>,
}

/// Some rows of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of the job.
    pub job: usize,
    /// Rows, counted over all matrices.
    pub rows: Range<u64>,
}

impl Job {
    /// Weights to encode or copy in a piece, over all targets.
    pub(crate) fn work(&self, piece: &Piece) -> u64 {
        (piece.rows.end - piece.rows.start) * self.row_len as u64 * self.targets.len() as u64
    }
}

/// The work of these outputs, in the order of the source's tensors: a source is read front to back.
///
/// # Errors
/// A plan that does not fit the source.
pub fn jobs(source: &dyn Source, outputs: &[OutputPlan<'_>]) -> Result<Vec<Job>> {
    let tensors = source.tensors();
    let mut by_tensor: Vec<Vec<Target>> = vec![Vec::new(); tensors.len()];
    for (output, plan) in outputs.iter().enumerate() {
        plan.check(source)?;
        for (index, planned) in plan.contents().iter().enumerate() {
            let encoder = planned.encoder.as_ref();
            let copied = planned.ty == tensors[planned.source].ty && encoder.is_none();
            // A copy is the same with and without importance.
            let importance = planned.importance.as_ref().filter(|_| !copied);
            let targets = &mut by_tensor[planned.source];
            let same = targets.iter_mut().find(|t| {
                t.ty == planned.ty
                    && same_thing(t.importance.as_ref(), importance)
                    && same_thing(t.encoder.as_ref(), encoder)
            });
            match same {
                Some(target) => target.wanted_by.push((output, index)),
                None => targets.push(Target {
                    ty: planned.ty,
                    copied,
                    importance: importance.cloned(),
                    encoder: encoder.cloned(),
                    wanted_by: vec![(output, index)],
                }),
            }
        }
    }
    Ok(by_tensor
        .into_iter()
        .enumerate()
        .filter(|(_, targets)| !targets.is_empty())
        .map(|(source, targets)| {
            let shape = &tensors[source].shape;
            let row_len = shape.first().copied().unwrap_or(1);
            let rows: u64 = shape.iter().skip(1).product();
            Job {
                source,
                // A row is held in memory, so its length fits.
                row_len: row_len as usize,
                rows,
                rows_per_matrix: (rows / matrices(shape).max(1)).max(1),
                targets,
            }
        })
        .collect())
}

/// Cuts jobs into pieces of at most `rows_per_job` rows each.
pub fn pieces(jobs: &[Job], rows_per_job: &[u64]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (job, (work, &step)) in jobs.iter().zip(rows_per_job).enumerate() {
        let mut start = 0;
        while start < work.rows {
            let end = start.saturating_add(step.max(1)).min(work.rows);
            pieces.push(Piece {
                job,
                rows: start..end,
            });
            start = end;
        }
    }
    pieces
}

fn same_thing<T: ?Sized>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}
