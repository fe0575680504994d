//! Runs that can be interrupted and continued, with the same bytes in the end.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use gguf::{Ranges, Writer};
use rayon::prelude::*;
use xxhash_rust::xxh64::xxh64;

use super::journal::{Journal, Record, fingerprint, of_run};
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
    let (journal, records) = of_run(journal, &fingerprint(source, outputs)?)?;
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
pub(crate) enum State {
    /// And whether an earlier run had begun it.
    Writing(Box<Writer>, bool),
    /// Its name was given before the run was interrupted, and all of it was read back.
    Published,
}

impl State {
    pub(crate) fn open(plan: &OutputPlan<'_>, records: &[&Record]) -> Result<Self> {
        if !records.is_empty() && !Writer::has_partial(&plan.path) && is_published(plan, records)? {
            return Ok(Self::Published);
        }
        let (writer, found) = Writer::create_resumable(&plan.path, &plan.file_plan()?)?;
        if found {
            records
                .par_iter()
                .try_for_each(|record| check(&writer, plan, record).map(drop))?;
        }
        Ok(Self::Writing(Box::new(writer), found))
    }
}

/// Accepts a range whose bytes are those noted, and says whether they are; any other is written again.
pub(crate) fn check(writer: &Writer, plan: &OutputPlan<'_>, record: &Record) -> Result<bool> {
    let Some(range) = range_of(plan, record) else {
        return Ok(false);
    };
    let mut bytes = vec![0; record.length as usize];
    writer.read_back(record.tensor, record.offset, &mut bytes)?;
    let is_sound = xxh64(&bytes, 0) == record.digest;
    if is_sound {
        writer.accept(record.tensor, range);
    }
    Ok(is_sound)
}

/// The range of a record, when there is such a range.
pub(crate) fn range_of(plan: &OutputPlan<'_>, record: &Record) -> Option<std::ops::Range<u64>> {
    let size = plan.tensors().get(record.tensor)?.size_bytes();
    let end = record.offset.checked_add(record.length)?;
    (end <= size && record.length <= MAX_RECORD_BYTES).then_some(record.offset..end)
}

/// Whether the file under the final name has this plan's header, and every byte of every tensor as noted.
fn is_published(plan: &OutputPlan<'_>, records: &[&Record]) -> Result<bool> {
    let sound = published(plan, records)?;
    let all = |sound: Vec<Ranges>| {
        let mut of_tensors = sound.iter().zip(plan.tensors());
        of_tensors.all(|(ranges, info)| ranges.total() == info.size_bytes())
    };
    Ok(sound.is_some_and(all))
}

/// The bytes of each tensor that are as noted in the file under the final name; `None` where it is not there or has
/// another size or header than this plan's.
pub(crate) fn published(plan: &OutputPlan<'_>, records: &[&Record]) -> Result<Option<Vec<Ranges>>> {
    let io = |source| Error::io(&plan.path, source);
    let mut file = match File::open(&plan.path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    let header = plan.file_plan()?.header_bytes()?;
    if file.metadata().map_err(io)?.len() != plan.file_size() {
        return Ok(None);
    }
    let mut start = vec![0; header.len()];
    file.read_exact(&mut start).map_err(io)?;
    if start != header {
        return Ok(None);
    }
    let is_sound = |record: &&&Record| {
        let Some(range) = range_of(plan, record) else {
            return Ok(false);
        };
        let at = header.len() as u64 + plan.tensors()[record.tensor].offset + range.start;
        // Each with a position of its own.
        let mut file = File::open(&plan.path)?;
        let mut bytes = vec![0; record.length as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes)?;
        Ok(xxh64(&bytes, 0) == record.digest)
    };
    let verdicts = records.par_iter().map(|record| is_sound(&record));
    let verdicts = verdicts.collect::<std::io::Result<Vec<bool>>>().map_err(io)?;
    let mut sound = vec![Ranges::default(); plan.tensors().len()];
    for (record, _) in records.iter().zip(verdicts).filter(|(_, is_sound)| *is_sound) {
        sound[record.tensor].insert(record.offset, record.offset + record.length);
    }
    Ok(Some(sound))
}

/// Whether every output has all that a piece gives it.
pub(crate) fn is_done(job: &Job, piece: &Piece, states: &[State]) -> bool {
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
pub(crate) struct Noted<'a> {
    pub(crate) states: &'a [State],
    pub(crate) journal: &'a Journal,
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
