//! The pipeline: executes any number of plans over one source in one pass.
//!
//! The unit of work is a piece: some rows of one source tensor. A piece is read and decoded once, each
//! distinct (type, importance) that an output wants of it is encoded once, and the blocks are written
//! to every output that wants them, at offsets that the plans fix. Pieces are independent, so threads
//! take them as they come and the bytes do not depend on who took which, nor on the size of a piece.

mod flush;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod jobs;
pub(crate) mod journal;
pub(crate) mod memory;
pub(crate) mod resume;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use gguf::Writer;

use crate::plan::OutputPlan;
use crate::source::Source;
use crate::{Error, Result};

use flush::Flushing;
pub use jobs::{Job, Piece, Target, jobs, pieces};
pub use journal::fingerprint;
pub use memory::DEFAULT_MAX_MEMORY;
pub use resume::{Finished, execute_resumable};
use worker::Worker;

/// Use of the machine by a run. None of it affects the bytes written.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PipelineOptions {
    /// Threads; 0 for as many as the machine runs at once.
    pub threads: usize,
    /// Bytes that buffers may take, over all threads.
    pub max_memory: u64,
}

gguf::setters! {
    PipelineOptions {
        threads: usize,
        max_memory: u64,
    }
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            max_memory: DEFAULT_MAX_MEMORY,
        }
    }
}

impl PipelineOptions {
    fn workers(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n.min(most_threads()),
        }
    }
}

/// Most threads that a run starts, whatever is asked for: four for each that the machine runs at once, and eight at
/// least. More only wait for each other, and each has buffers.
pub fn most_threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .saturating_mul(4)
        .max(8)
}

/// Checks that the devices have room for all these files together.
pub(crate) fn check_room<'a>(files: impl Iterator<Item = (&'a Path, u64)>) -> Result<()> {
    let mut needed: BTreeMap<PathBuf, (&Path, u64)> = BTreeMap::new();
    for (path, size) in files {
        let directory = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let (_, total) = needed.entry(directory).or_insert((path, 0));
        *total = total.saturating_add(size);
    }
    for (path, total) in needed.into_values() {
        gguf::check_space(path, total)?;
    }
    Ok(())
}

/// Progress of a run: weights encoded or copied, counted once for each distinct encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Weights done.
    pub done: u64,
    /// Weights in all.
    pub total: u64,
}

/// Told of progress from the working threads, at once and not always in the order of `done`: what shows it keeps the most
/// that it was told. One call has `done` equal to `total`.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// Sink of encoded rows: the writers of whole files, or whatever another executor of pieces brings.
pub trait Sink: Sync {
    /// Takes bytes of tensor `tensor` of output `output`, from byte `offset` of that tensor on.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn write(&self, output: usize, tensor: usize, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Flushes what was written to output `output` so far to disk. Called now and then, from a thread of its own.
    ///
    /// # Errors
    /// When the system cannot.
    fn flush(&self, output: usize) -> Result<()> {
        let _ = output;
        Ok(())
    }
}

impl Sink for [Writer] {
    fn write(&self, output: usize, tensor: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        Ok(self[output].write_at(tensor, offset, bytes)?)
    }

    fn flush(&self, output: usize) -> Result<()> {
        Ok(self[output].flush()?)
    }
}

/// Writes every planned file: with a `journal`, so that the run can be continued ([`execute_resumable`]), else in one
/// go ([`execute`]).
///
/// # Errors
/// As these two.
pub fn write(
    source: &dyn Source,
    outputs: &[OutputPlan<'_>],
    options: &PipelineOptions,
    journal: Option<&Path>,
    on_progress: OnProgress<'_>,
) -> Result<()> {
    match journal {
        Some(journal) => execute_resumable(source, outputs, options, journal, on_progress)?.forget(),
        None => execute(source, outputs, options, on_progress),
    }
}

/// Writes every planned file. None is published before all are complete and on disk.
///
/// # Errors
/// Reading, writing, and a value in the source that is not finite; nothing is published then.
pub fn execute(
    source: &dyn Source,
    outputs: &[OutputPlan<'_>],
    options: &PipelineOptions,
    on_progress: OnProgress<'_>,
) -> Result<()> {
    let writers = outputs
        .iter()
        .map(|plan| Ok(Writer::create(&plan.path, &plan.file_plan()?)?))
        .collect::<Result<Vec<_>>>()?;
    check_room(outputs.iter().map(|plan| (plan.path.as_path(), plan.file_size())))?;
    let jobs = jobs(source, outputs)?;
    let rows = memory::rows_per_piece(source, &jobs, options)?;
    let pieces = pieces(&jobs, &rows.per_job);
    run(
        source,
        &jobs,
        &pieces,
        writers.as_slice(),
        rows.threads,
        on_progress,
    )?;
    let complete = writers
        .into_iter()
        .map(Writer::complete)
        .collect::<Result<Vec<_>, _>>()?;
    for file in complete {
        file.publish()?;
    }
    Ok(())
}

/// Executes these pieces, on this many threads, into `sink`.
///
/// # Errors
/// The error of the first piece that failed, in the order of `pieces`.
pub fn run(
    source: &dyn Source,
    jobs: &[Job],
    pieces: &[Piece],
    sink: &(impl Sink + ?Sized),
    threads: usize,
    on_progress: OnProgress<'_>,
) -> Result<()> {
    let total = pieces.iter().map(|p| jobs[p.job].work(p)).sum();
    let done = AtomicU64::new(0);
    let next = AtomicUsize::new(0);
    // Pieces are taken in order, so whatever comes before a failed one was taken as well and is
    // finished: the first failure is the same however many threads there are.
    let failure: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let failed = AtomicUsize::new(usize::MAX);

    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .build()
        .map_err(|e| Error::Request(format!("cannot start {threads} threads: {e}")))?;
    on_progress(Progress { done: 0, total });
    let wanted_by = jobs
        .iter()
        .flat_map(|job| &job.targets)
        .flat_map(|t| &t.wanted_by);
    let outputs = wanted_by.map(|(output, _)| output + 1).max().unwrap_or(0);
    let sink = Flushing::new(sink, outputs);
    let work = || {
        let mut worker = Worker::new(source, &sink);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(index) else { break };
            if index > failed.load(Ordering::Relaxed) {
                break;
            }
            let job = &jobs[piece.job];
            match worker.execute(job, piece) {
                Ok(()) => {
                    let work = job.work(piece);
                    let done = done.fetch_add(work, Ordering::Relaxed) + work;
                    on_progress(Progress { done, total });
                }
                Err(error) => {
                    failed.fetch_min(index, Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    if failure.as_ref().is_none_or(|(first, _)| index < *first) {
                        *failure = Some((index, error));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| sink.flush_batches());
        // Also where a thread panics: otherwise the scope would wait for ever.
        let _end = sink.finish_when_dropped();
        pool.broadcast(|_| work());
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failure.map(|(_, error)| error).or(sink.into_failure()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
