//! One part of a plan.

use gguf::{Ranges, Writer};
use rayon::prelude::*;

use super::assign::{Share, Span};
use super::document::PlanDocument;
use super::layout::Layout;
use super::part::Part;
use super::place::Heading;
use super::request::Cut;
use crate::pipeline::journal::Record;
use crate::pipeline::resume::{Noted, State, check, is_done, published};
use crate::pipeline::{OnProgress, Piece, PipelineOptions, check_room, memory, run};
use crate::plan::OutputPlan;
use crate::quantize::Quantization;
use crate::source::Source;
use crate::{Error, Result};

/// The outcome of a part's run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartDone {
    /// Bytes of the part, over all files.
    pub bytes: u64,
    /// Files to which it writes.
    pub files: usize,
    /// Bytes that an earlier run of the part had written, and that were read back.
    pub found: u64,
    /// Whether the parts are joined already, so that nothing was left to do.
    pub joined: bool,
    /// Rows of the table to which it writes.
    pub rows: Vec<usize>,
}

/// Has the blocks of a file learned, which a plan asks for.
pub type Learn<'l, 'a, E> = &'l mut dyn FnMut(&mut Quantization<'a>) -> Result<(), E>;

/// Does a part of a plan, or what an earlier run of it has left to do. Any number of parts may be run at once, on any
/// machines; the same part is run by one process at a time.
///
/// Inputs and layout must have been checked ([`PlanDocument::check_inputs`], [`PlanDocument::check_layout`]). `learn` is called
/// for each file of the part that is not there yet, where blocks are learned.
///
/// # Errors
/// As [`crate::pipeline::execute`]; also another process at work on this part, and parts of another plan, version or
/// number of parts in the same directory.
pub fn run_part<'a, E: From<Error>>(
    source: &'a dyn Source,
    plan: &PlanDocument,
    layout: &mut Layout<'a>,
    part: Part,
    options: &PipelineOptions,
    learn: Learn<'_, 'a, E>,
    on_progress: OnProgress<'_>,
) -> Result<PartDone, E> {
    let share = layout.deal(part.count()).share(part);
    let spans: Vec<Span> = share.spans().collect();
    let mut done = PartDone {
        bytes: share.bytes(),
        files: 0,
        found: 0,
        joined: false,
        rows: layout.rows(&|output| spans.iter().any(|span| span.output == output)),
    };
    let digest = plan.digest();
    if layout.place.is_joined(&digest)? && layout.is_there() {
        done.joined = true;
        return Ok(done);
    }
    for output in &layout.outputs {
        gguf::check_not_input(&output.path).map_err(Error::from)?;
    }
    let heading = Heading {
        plan: digest,
        part,
        tool: plan.tool.clone(),
    };
    let (journal, records) = layout.place.open(&heading)?;
    let mut states = Vec::new();
    for (index, output) in layout.outputs.iter().enumerate() {
        let own: Vec<&Span> = spans.iter().filter(|s| s.output == index).collect();
        let records: Vec<&Record> = records.iter().filter(|r| r.output == index).collect();
        states.push(match (own.is_empty(), layout.cut) {
            // Nothing of this file is the part's: there is nothing to write.
            (true, _) => State::Published,
            (false, Cut::Files) => State::open(output, &records)?,
            (false, Cut::Rows) => shared(output, &own, &records)?,
        });
        done.files += usize::from(!own.is_empty());
    }
    done.found = spans
        .iter()
        .filter(|span| has(&states, span))
        .map(|s| s.bytes.end - s.bytes.start)
        .sum();
    let room = spans.iter().filter(|span| !has(&states, span));
    check_room(room.map(|s| {
        (
            layout.outputs[s.output].path.as_path(),
            s.bytes.end - s.bytes.start,
        )
    }))?;
    let left = layout.rows(&|output| matches!(states[output], State::Writing(..)));
    layout.learn(source, &left, learn)?;
    let share = layout.deal(part.count()).share(part);
    let rows = memory::rows_per_piece(source, &share.jobs, options)?;
    let mut left = pieces(&share, &rows.per_job);
    left.retain(|piece| !is_done(&share.jobs[piece.job], piece, &states));
    let sink = Noted {
        states: &states,
        journal: &journal,
    };
    run(source, &share.jobs, &left, &sink, rows.threads, on_progress)?;
    for state in states {
        let State::Writing(writer, _) = state else {
            continue;
        };
        match layout.cut {
            // On disk before the scheduler hears that it is.
            Cut::Rows => writer.flush().map_err(Error::from)?,
            Cut::Files => writer.finish().map_err(Error::from)?,
        }
    }
    Ok(done)
}

/// Whether a file has all of a span.
fn has(states: &[State], span: &Span) -> bool {
    match &states[span.output] {
        State::Published => true,
        State::Writing(writer, _) => writer.has(span.tensor, span.bytes.clone()),
    }
}

/// The file that other parts write too, with what an earlier run of this part has written.
fn shared(plan: &OutputPlan<'_>, spans: &[&Span], records: &[&Record]) -> Result<State> {
    let complete = |sound: Vec<Ranges>| {
        let mut spans = spans.iter();
        spans.all(|s| sound[s.tensor].covers(s.bytes.start, s.bytes.end))
    };
    // A join that was interrupted has given this file its name already.
    if !records.is_empty()
        && !Writer::has_partial(&plan.path)
        && published(plan, records)?.is_some_and(complete)
    {
        return Ok(State::Published);
    }
    let writer = Writer::open_shared(&plan.path, &plan.file_plan()?)?;
    records
        .par_iter()
        .try_for_each(|record| check(&writer, plan, record).map(drop))?;
    Ok(State::Writing(Box::new(writer), true))
}

/// The share in pieces of at most so many rows.
fn pieces(share: &Share, rows_per_job: &[u64]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (job, (rows, &step)) in share.rows.iter().zip(rows_per_job).enumerate() {
        let mut start = rows.start;
        while start < rows.end {
            let end = start.saturating_add(step.max(1)).min(rows.end);
            pieces.push(Piece {
                job,
                rows: start..end,
            });
            start = end;
        }
    }
    pieces
}
