//! Joining parts: every range is read back and compared with the journals before a file gets its name.

use std::collections::HashMap;
use std::path::PathBuf;

use gguf::{Ranges, Writer};
use rayon::prelude::*;

use super::assign::Span;
use super::document::PlanDocument;
use super::layout::Layout;
use super::part::Part;
use super::place::Heading;
use crate::pipeline::journal::Record;
use crate::pipeline::resume::{check, published, range_of};
use crate::{Error, Result, digest, table};

/// Most findings that are told of one part.
pub(super) const MOST_FINDINGS: usize = 3;

/// The outcome of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The files have their names; these are all of them.
    Done(Vec<PathBuf>),
    /// An earlier join has done it.
    Before,
    /// Something is missing or damaged. What is sound stays where it is.
    Incomplete(Incomplete),
}

/// The parts that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incomplete {
    /// Number of parts.
    pub count: u64,
    /// The parts to run again, and why; no others need to be.
    pub again: Vec<PartToRepeat>,
}

/// A part to run again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartToRepeat {
    /// The part.
    pub part: Part,
    /// The findings, in words.
    pub findings: Vec<String>,
}

/// Joins the parts of a plan: reads back and checks every range that the journals note, and publishes the files with
/// their `SHA256SUMS` once all parts are whole.
///
/// The layout must have been checked ([`PlanDocument::check_layout`]). `read` is called with the bytes that have been read
/// back and digested, [`Layout::bytes_of_join`] in all.
///
/// # Errors
/// Parts of another plan, version or number of parts, one that is being run, one that has written what is another's, and
/// errors of the system.
pub fn join(plan: &PlanDocument, layout: &Layout<'_>, read: &(dyn Fn(u64) + Sync)) -> Result<Joined> {
    let digest = plan.digest();
    if layout.place.is_joined(&digest)? && layout.is_there() {
        // Should the join have been interrupted after its note.
        layout.place.finish(&digest)?;
        return Ok(Joined::Before);
    }
    let heading = Heading {
        plan: digest.clone(),
        part: Part::new(1, 1)?,
        tool: plan.tool.clone(),
    };
    let parts = layout.place.read(&heading)?;
    let Some(count) = parts.first().map(|(part, _)| part.count()) else {
        return Err(Error::input(
            layout.place.directory(),
            "expected parts of this plan, found none that has been run here",
        ));
    };
    table::check_links(&layout.table)?;
    digest::check_manifest(layout.place.directory())?;
    let shares = shares(layout, count)?;
    for (part, records) in &parts {
        check_place(layout, &shares, *part, records)?;
    }
    let (found, writers) = read_back(layout, &parts, read)?;
    let ran = |part: Part| parts.iter().any(|(other, _)| *other == part);
    let again: Vec<PartToRepeat> = shares
        .iter()
        .filter_map(|(part, spans)| found.findings(layout, *part, spans, ran(*part)))
        .collect();
    if !again.is_empty() {
        return Ok(Joined::Incomplete(Incomplete { count, again }));
    }
    let files = publish(layout, writers, read)?;
    layout.place.finish(&digest)?;
    Ok(Joined::Done(files))
}

/// The spans that each part was to write.
fn shares(layout: &Layout<'_>, count: u64) -> Result<Vec<(Part, Vec<Span>)>> {
    let deal = layout.deal(count);
    (1..=count)
        .map(|number| {
            let part = Part::new(number, count)?;
            Ok((part, deal.share(part).spans().collect()))
        })
        .collect()
}

/// Compares every noted range with what is in the files; also the files that are not published yet.
fn read_back(
    layout: &Layout<'_>,
    parts: &[(Part, Vec<Record>)],
    read: &(dyn Fn(u64) + Sync),
) -> Result<(Found, Vec<Writer>)> {
    let mut found = Found::default();
    let mut writers = Vec::new();
    for (index, output) in layout.outputs.iter().enumerate() {
        let records: Vec<(Part, &Record)> = parts
            .iter()
            .flat_map(|(part, records)| records.iter().map(move |record| (*part, record)))
            .filter(|(_, record)| record.output == index)
            .collect();
        match Writer::open_left(&output.path, &output.file_plan()?)? {
            Some(writer) => {
                let verdicts = records.par_iter().map(|(_, record)| {
                    let sound = check(&writer, output, record);
                    read(record.length);
                    sound
                });
                let verdicts: Vec<bool> = verdicts.collect::<Result<_>>()?;
                found.add(&records, &verdicts);
                writers.push(writer);
            }
            None => {
                let alone: Vec<&Record> = records.iter().map(|(_, record)| *record).collect();
                // Of a file that is neither begun nor published, nothing is sound.
                let sound = published(output, &alone)?.unwrap_or_default();
                read(alone.iter().map(|record| record.length).sum());
                let is_sound = |r: &Record| {
                    let ranges = sound.get(r.tensor);
                    ranges.is_some_and(|ranges| ranges.covers(r.offset, r.offset.saturating_add(r.length)))
                };
                let verdicts: Vec<bool> = alone.iter().map(|r| is_sound(r)).collect();
                found.add(&records, &verdicts);
            }
        }
    }
    Ok((found, writers))
}

/// Gives whole files their names, and the directory its links and `SHA256SUMS`.
fn publish(layout: &Layout<'_>, writers: Vec<Writer>, read: &dyn Fn(u64)) -> Result<Vec<PathBuf>> {
    let complete = writers
        .into_iter()
        .map(Writer::complete)
        .collect::<Result<Vec<_>, _>>()?;
    for file in complete {
        file.publish()?;
    }
    table::link(&layout.table)?;
    let files = table::files(&layout.table);
    digest::write_manifest(layout.place.directory(), &files, &[], read)?;
    Ok(files)
}

/// Checks that a part has noted nothing but what is its own.
fn check_place(
    layout: &Layout<'_>,
    shares: &[(Part, Vec<Span>)],
    part: Part,
    records: &[Record],
) -> Result<()> {
    let own = shares
        .get(part.number() as usize - 1)
        .map_or(&[][..], |(_, spans)| spans);
    let by_tensor: HashMap<(usize, usize), &Span> = own.iter().map(|s| ((s.output, s.tensor), s)).collect();
    for record in records {
        let end = record.offset.saturating_add(record.length);
        let span = by_tensor.get(&(record.output, record.tensor));
        if span.is_some_and(|s| s.bytes.start <= record.offset && end <= s.bytes.end) {
            continue;
        }
        return Err(Error::input(
            layout.place.directory(),
            format!(
                "part {part}: expected ranges of its own in its journal, found {}, which overlaps other parts or is in none",
                describe(layout, record.output, record.tensor, record.offset..end)
            ),
        ));
    }
    Ok(())
}

/// The tensors read back.
#[derive(Default)]
struct Found {
    /// For each part, output and tensor.
    sound: HashMap<(Part, usize, usize), Ranges>,
    /// Ranges that are not as noted.
    damaged: HashMap<Part, Vec<Record>>,
}

impl Found {
    fn add(&mut self, records: &[(Part, &Record)], verdicts: &[bool]) {
        for ((part, record), is_sound) in records.iter().zip(verdicts) {
            if *is_sound {
                let ranges = self
                    .sound
                    .entry((*part, record.output, record.tensor))
                    .or_default();
                ranges.insert(record.offset, record.offset.saturating_add(record.length));
            } else {
                self.damaged.entry(*part).or_default().push(**record);
            }
        }
    }

    /// Why a part has to be run again, if it has to be.
    fn findings(&self, layout: &Layout<'_>, part: Part, spans: &[Span], ran: bool) -> Option<PartToRepeat> {
        let is_whole = |span: &&Span| {
            let ranges = self.sound.get(&(part, span.output, span.tensor));
            ranges.is_some_and(|ranges| ranges.covers(span.bytes.start, span.bytes.end))
        };
        let missing: Vec<&Span> = spans
            .iter()
            .filter(|s| s.bytes.start < s.bytes.end && !is_whole(s))
            .collect();
        // What another range of the same part has made good is no damage any more.
        let damaged: Vec<&Record> = self
            .damaged
            .get(&part)
            .into_iter()
            .flatten()
            .filter(|r| {
                let ranges = self.sound.get(&(part, r.output, r.tensor));
                let covered = |ranges: &Ranges| ranges.covers(r.offset, r.offset.saturating_add(r.length));
                range_of(&layout.outputs[r.output], r).is_some() && !ranges.is_some_and(covered)
            })
            .collect();
        if missing.is_empty() && damaged.is_empty() {
            return None;
        }
        let mut findings: Vec<String> = Vec::new();
        if ran {
            for r in &damaged {
                let place = describe(layout, r.output, r.tensor, r.offset..r.offset + r.length);
                findings.push(format!(
                    "{place}: expected the bytes that were noted (xxh64 {:016x}), found others",
                    r.digest
                ));
            }
            let gap = |s: &&Span| {
                !damaged
                    .iter()
                    .any(|r| (r.output, r.tensor) == (s.output, s.tensor))
            };
            for s in missing.into_iter().filter(gap) {
                let place = describe(layout, s.output, s.tensor, s.bytes.clone());
                findings.push(format!("{place}: expected all of them, found some not written"));
            }
        } else {
            findings.push("not run".to_owned());
        }
        if let Some(more) = findings.len().checked_sub(MOST_FINDINGS).filter(|&n| n > 0) {
            findings.truncate(MOST_FINDINGS);
            findings.push(format!("and {more} more"));
        }
        Some(PartToRepeat { part, findings })
    }
}

fn describe(layout: &Layout<'_>, output: usize, tensor: usize, bytes: std::ops::Range<u64>) -> String {
    let Some(plan) = layout.outputs.get(output) else {
        return format!(
            "bytes {}..{} of file {output}, which is not planned",
            bytes.start, bytes.end
        );
    };
    let tensor = plan.tensors().get(tensor).map_or("?", |t| t.name.as_str());
    format!(
        "{}: tensor '{tensor}': bytes {}..{}",
        plan.path.display(),
        bytes.start,
        bytes.end
    )
}
