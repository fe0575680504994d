//! The memory bound: threads and rows per piece are chosen so that all buffers together stay below it.

use super::PipelineOptions;
use super::jobs::Job;
use crate::source::{Source, SourceTensor};
use crate::{Error, Result};

/// The default of [`PipelineOptions::max_memory`]: 1 GiB.
pub const DEFAULT_MAX_MEMORY: u64 = 1 << 30;

/// A share of the bound that buffers leave to everything else (headers, vocabulary, stacks), up to
/// this many bytes.
const RESERVE: u64 = 64 << 20;

/// Pieces are no larger than this even where memory would allow it: the decoded rows of one should
/// stay in a core's cache while they are encoded several times, and the last pieces of a run should
/// keep every thread busy.
pub(crate) const PIECE_WEIGHTS: u64 = 1 << 18;

/// Cut of a run into pieces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Threads for which the bound leaves room.
    pub(crate) threads: usize,
    /// Rows in a piece, for each job.
    pub(crate) per_job: Vec<u64>,
}

/// Chooses threads and pieces.
///
/// # Errors
/// A bound in which a single row of some tensor does not fit.
pub(crate) fn rows_per_piece(source: &dyn Source, jobs: &[Job], options: &PipelineOptions) -> Result<Cut> {
    let budget = options.max_memory - RESERVE.min(options.max_memory / 4);
    let tensor = |job: &Job| &source.tensors()[job.source];
    let costs: Vec<u64> = jobs.iter().map(|job| row_cost(tensor(job), job)).collect();
    let (largest, owner) = costs
        .iter()
        .zip(jobs)
        .max_by_key(|(cost, _)| **cost)
        .map_or((0, None), |(&cost, job)| (cost, Some(job)));
    let room = budget.checked_div(largest).unwrap_or(u64::MAX);
    if let Some(job) = owner.filter(|_| room == 0) {
        return Err(Error::Request(format!(
            "a memory bound of {} bytes is too small: one row of tensor '{}' takes {largest}",
            options.max_memory,
            tensor(job).name
        )));
    }
    let threads = options
        .workers()
        .min(usize::try_from(room).unwrap_or(usize::MAX))
        .max(1);
    let share = budget / threads as u64;
    let per_job = jobs
        .iter()
        .zip(&costs)
        .map(|(job, &cost)| {
            let fitting = share / cost.max(1);
            fitting.min(PIECE_WEIGHTS / (job.row_len as u64).max(1)).max(1)
        })
        .collect();
    Ok(Cut { threads, per_job })
}

/// Bytes that one row occupies while it is worked on: as stored, decoded, and in its largest encoding.
fn row_cost(tensor: &SourceTensor, job: &Job) -> u64 {
    let row = job.row_len as u64;
    // What the source reads is at most this; some decode from another type than they declare.
    let stored = tensor.ty.row_bytes(row).unwrap_or(0).max(row.saturating_mul(4));
    let decoded = row.saturating_mul(4);
    let encoded = job
        .targets
        .iter()
        .map(|t| t.ty.row_bytes(row).unwrap_or(0))
        .max()
        .unwrap_or(0);
    stored.saturating_add(decoded).saturating_add(encoded)
}
