//! Runs that can be interrupted and continued, with the same bytes in the end.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use gguf::Writer;
use rayon::prelude::*;
use xxhash_rust::xxh64::xxh64;

use super::journal::{Journal, Record, fingerprint};
use super::{Job, OnProgress, Piece, PipelineOptions, Sink, check_room, jobs, memory, pieces, run};
use crate::plan::OutputPlan;
use crate::source::Source;
use crate::{Error, Result};

/// Longest range that is read back at once, in bytes. No piece is as long; a record that says so is not ours.
const MAX_RECORD_BYTES: u64 = 1 << 32;

/// A run whose files are all published. Its journal is still there, for whatever has to happen before the run
/// counts as done.
#[derive(Debug)]
#[must_use = "the journal stays until it is removed"]
pub struct Finished(Journal);

impl Finished {
    /// Removes the journal.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn forget(self) -> Result<()> {
        self.0.remove()
    }
}

/// Does what [`super::execute`] does, and can be continued: what is written stays when the run fails or is
/// killed, and `journal` notes it. Called again with the same journal, it reads back and checks all that is
/// noted, does what is missing, and publishes the same bytes.
///
/// # Errors
/// As [`super::execute`], and a journal of another run, or one that another process has open.
pub fn execute_resumable(
    source: &dyn Source,
    outputs: &[OutputPlan<'_>],
    options: &PipelineOptions,
    journal: &Path,
    on_progress: OnProgress<'_>,
) -> Result<Finished> {
    let jobs = jobs(source, outputs)?;
    let rows = memory::rows_per_piece(source, &jobs, options)?;
    for plan in outputs {
        gguf::check_not_input(&plan.path)?;
    }
    let (journal, records) = Journal::open(journal, &fingerprint(source, outputs)?)?;
    let states = outputs
        .iter()
        .enumerate()
        .map(|(index, plan)| {
            let own: Vec<&Record> = records.iter().filter(|r| r.output == index).collect();
            State::open(plan, &own)
        })
        .collect::<Result<Vec<_>>>()?;
    let begun = states
        .iter()
        .zip(outputs)
        .filter(|(state, _)| matches!(state, State::Writing(_, false)));
    check_room(begun.map(|(_, plan)| (plan.path.as_path(), plan.file_size())))?;
    let all = pieces(&jobs, &rows.per_job);
    let left: Vec<Piece> = all
        .iter()
        .filter(|piece| !is_done(&jobs[piece.job], piece, &states))
        .cloned()
        .collect();
    if left.len() < all.len() {
        tracing::info!(
            "continuing: {} of {} pieces are written and were read back",
            all.len() - left.len(),
            all.len()
        );
    }
    let sink = Noted {
        states: &states,
        journal: &journal,
    };
    run(source, &jobs, &left, &sink, rows.threads, on_progress)?;
    let mut complete = Vec::new();
    for state in states {
        if let State::Writing(writer, _) = state {
            complete.push(writer.complete()?);
        }
    }
    for file in complete {
        file.publish()?;
    }
    Ok(Finished(journal))
}

/// An output file.
enum State {
    /// And whether an earlier run had begun it.
    Writing(Box<Writer>, bool),
    /// Its name was given before the run was interrupted, and all of it was read back.
    Published,
}

impl State {
    fn open(plan: &OutputPlan<'_>, records: &[&Record]) -> Result<Self> {
        if !records.is_empty() && !Writer::has_partial(&plan.path) && is_published(plan, records)? {
            return Ok(Self::Published);
        }
        let (writer, found) = Writer::create_resumable(&plan.path, &plan.file_plan()?)?;
        if found {
            records
                .par_iter()
                .try_for_each(|record| check(&writer, plan, record))?;
        }
        Ok(Self::Writing(Box::new(writer), found))
    }
}

/// Accepts a range whose bytes are those noted; any other is written again.
fn check(writer: &Writer, plan: &OutputPlan<'_>, record: &Record) -> Result<()> {
    let Some(range) = range_of(plan, record) else {
        return Ok(());
    };
    let mut bytes = vec![0; record.length as usize];
    writer.read_back(record.tensor, record.offset, &mut bytes)?;
    if xxh64(&bytes, 0) == record.digest {
        writer.accept(record.tensor, range);
    }
    Ok(())
}

/// The range of a record, when there is such a range.
fn range_of(plan: &OutputPlan<'_>, record: &Record) -> Option<std::ops::Range<u64>> {
    let size = plan.tensors().get(record.tensor)?.size_bytes();
    let end = record.offset.checked_add(record.length)?;
    (end <= size && record.length <= MAX_RECORD_BYTES).then_some(record.offset..end)
}

/// Whether the file under the final name has this plan's header, and every byte of every tensor as noted.
fn is_published(plan: &OutputPlan<'_>, records: &[&Record]) -> Result<bool> {
    let io = |source| Error::Io {
        path: plan.path.clone(),
        source,
    };
    let mut file = match File::open(&plan.path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(io(e)),
    };
    let header = plan.file_plan()?.header_bytes()?;
    if file.metadata().map_err(io)?.len() != plan.file_size() {
        return Ok(false);
    }
    let mut start = vec![0; header.len()];
    file.read_exact(&mut start).map_err(io)?;
    if start != header {
        return Ok(false);
    }
    let mut sound = Vec::new();
    for record in records {
        let Some(range) = range_of(plan, record) else {
            continue;
        };
        let at = header.len() as u64 + plan.tensors()[record.tensor].offset + range.start;
        let mut bytes = vec![0; record.length as usize];
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        file.read_exact(&mut bytes).map_err(io)?;
        if xxh64(&bytes, 0) == record.digest {
            sound.push((record.tensor, range.start, range.end));
        }
    }
    sound.sort_unstable();
    let mut sound = sound.into_iter().peekable();
    for (index, info) in plan.tensors().iter().enumerate() {
        let mut reached = 0;
        while let Some((_, start, end)) = sound.next_if(|s| s.0 == index) {
            if start <= reached {
                reached = reached.max(end);
            }
        }
        if reached < info.size_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether every output has all that a piece gives it.
fn is_done(job: &Job, piece: &Piece, states: &[State]) -> bool {
    job.targets.iter().all(|target| {
        let row_bytes = target.ty.row_bytes(job.row_len as u64).unwrap_or(0);
        let range = piece.rows.start * row_bytes..piece.rows.end * row_bytes;
        target
            .wanted_by
            .iter()
            .all(|&(output, tensor)| match &states[output] {
                State::Published => true,
                State::Writing(writer, _) => writer.has(tensor, range.clone()),
            })
    })
}

/// Writes, and then notes what was written.
struct Noted<'a> {
    states: &'a [State],
    journal: &'a Journal,
}

impl Sink for Noted<'_> {
    fn write(&self, output: usize, tensor: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        match &self.states[output] {
            State::Published => Ok(()),
            State::Writing(writer, _) => {
                writer.write_at(tensor, offset, bytes)?;
                self.journal.add(output, tensor, offset, bytes)
            }
        }
    }

    fn flush(&self, output: usize) -> Result<()> {
        match &self.states[output] {
            State::Published => Ok(()),
            State::Writing(writer, _) => Ok(writer.flush()?),
        }
    }
}
