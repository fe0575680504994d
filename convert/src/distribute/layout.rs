//! A request worked out: the planned files and the work, as a document describes them and parts do them.

use std::path::Path;

use gguf::Value;
use sha2::{Digest as _, Sha256};

use super::assign::{self, Balance, Deal};
use super::cost;
use super::entries::{Encoding, LeftOut, Link, PlannedFile, Tensor, Work};
use super::place::Place;
use super::request::{Cut, Request};
use crate::digest::hex;
use crate::importance::Importance;
use crate::pipeline::{Job, jobs};
use crate::plan::OutputPlan;
use crate::quantize::{OPTIMIZE_KEYS, Quantization};
use crate::source::Source;
use crate::table::{self, RowPlan};
use crate::{Error, Result};

/// The files of a request and the work they take.
#[derive(Debug)]
pub struct Layout<'a> {
    pub(super) table: Vec<RowPlan<'a>>,
    pub(super) outputs: Vec<OutputPlan<'a>>,
    pub(super) jobs: Vec<Job>,
    /// For each output the number of the files that are made together.
    groups: Vec<usize>,
    /// Tokens that blocks are learned from, where they are.
    learned: Option<u64>,
    pub(super) cut: Cut,
    pub(super) place: Place,
}

impl<'a> Layout<'a> {
    /// Plans the files of a request in `directory`; `record` are keys of theirs that say how blocks are learned.
    ///
    /// # Errors
    /// As [`table::plan`]; also where none of the presets can be made, and where files whose blocks are learned are to be cut.
    pub fn new(
        source: &'a dyn Source,
        request: &Request,
        directory: &Path,
        importance: Option<&Importance>,
        record: &[(String, Value)],
    ) -> Result<Self> {
        let learned = learned_tokens(record);
        if learned.is_some() && request.cut == Cut::Rows {
            return Err(Error::Request(
                "a file whose blocks are learned is not cut: the inputs of a layer depend on the layers before it as they were \
                 quantized; cut by files, a part is whole files"
                    .to_owned(),
            ));
        }
        let table = table::plan(source, &request.options(directory, record)?, importance)?;
        let outputs = table::outputs(&table);
        if outputs.is_empty() {
            let reasons: Vec<String> = table
                .iter()
                .filter_map(|row| Some(format!("{}: {}", row.entry.name, row.check().err()?)))
                .collect();
            return Err(Error::Request(format!(
                "none of the presets can be made of this model: {}",
                reasons.join("; ")
            )));
        }
        let jobs = jobs(source, &outputs)?;
        // Shards are learned together.
        let groups = match learned {
            Some(_) => rows_of(&table).map(|(row, _)| row).collect(),
            None => (0..outputs.len()).collect(),
        };
        Ok(Self {
            groups,
            learned,
            jobs,
            outputs,
            cut: request.cut,
            place: Place::new(directory, &request.name),
            table,
        })
    }

    /// The planned entries, also those that cannot be made.
    pub fn table(&self) -> &[RowPlan<'a>] {
        &self.table
    }

    /// Bytes that a join reads, at most: every range once, and every file for its digest.
    pub fn bytes_of_join(&self) -> u64 {
        let named = self.table.iter().filter_map(|row| row.plan.as_ref().ok());
        let sizes = self
            .outputs
            .iter()
            .chain(named.flat_map(|plan| &plan.outputs))
            .map(|output| output.file_size());
        sizes.fold(0, u64::saturating_add)
    }

    /// How evenly the cost is dealt to this many parts.
    ///
    /// # Errors
    /// No number of parts.
    pub fn balance(&self, parts: u64) -> Result<Balance> {
        self.deal(parts).balance()
    }

    pub(super) fn deal(&self, parts: u64) -> Deal<'_> {
        Deal::new(&self.jobs, &self.groups, self.cut, parts).learning(self.learned)
    }

    /// The rows of the table that write to some outputs.
    pub(super) fn rows(&self, wanted: &dyn Fn(usize) -> bool) -> Vec<usize> {
        let outputs = rows_of(&self.table).enumerate();
        let mut rows: Vec<usize> = outputs
            .filter(|(output, _)| wanted(*output))
            .map(|(_, (row, _))| row)
            .collect();
        rows.dedup();
        rows
    }

    /// Has the files encoded otherwise than by stock's encoders: `set` gives each plan its encoders. It has to be done in
    /// the same way wherever parts are dealt.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn set_encoders<E: From<Error>>(
        &mut self,
        source: &'a dyn Source,
        set: &mut dyn FnMut(&mut Quantization<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        for row in &mut self.table {
            if let Ok(plan) = &mut row.plan {
                set(plan)?;
            }
        }
        Ok(self.lay_again(source)?)
    }

    /// Makes outputs and jobs of the table again.
    fn lay_again(&mut self, source: &'a dyn Source) -> Result<()> {
        self.outputs = table::outputs(&self.table);
        self.jobs = jobs(source, &self.outputs)?;
        Ok(())
    }

    /// Has blocks of these rows learned. Where there is nothing to learn, nothing changes.
    pub(super) fn learn<E: From<Error>>(
        &mut self,
        source: &'a dyn Source,
        rows: &[usize],
        learn: &mut dyn FnMut(&mut Quantization<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.learned.is_none() {
            return Ok(());
        }
        for &row in rows {
            if let Ok(plan) = &mut self.table[row].plan {
                learn(plan)?;
            }
        }
        Ok(self.lay_again(source)?)
    }

    /// Whether every file is there, of the planned size.
    pub(super) fn is_there(&self) -> bool {
        let planned = self.table.iter().filter(|row| row.check().is_ok());
        let mut outputs = planned.flat_map(|row| row.plan.iter().flat_map(|plan| &plan.outputs));
        outputs.all(|output| {
            std::fs::metadata(&output.path).is_ok_and(|m| m.is_file() && m.len() == output.file_size())
        })
    }

    /// The planned files.
    pub(super) fn files(&self) -> Result<Vec<PlannedFile>> {
        let preset_of = |output: &OutputPlan<'_>| {
            let made = |row: &&RowPlan<'_>| row.same_as.is_none();
            let mut rows = self.table.iter().filter(made);
            let row = rows.find(|row| {
                let plans = row.plan.iter().flat_map(|plan| &plan.outputs);
                plans.into_iter().any(|other| other.path == output.path)
            });
            row.map_or("", |row| &row.entry.name)
        };
        self.outputs
            .iter()
            .map(|output| {
                Ok(PlannedFile {
                    file: file_name(&output.path)?,
                    preset: preset_of(output).to_owned(),
                    bytes: output.file_size(),
                    header_sha256: hex(&Sha256::digest(output.file_plan()?.header_bytes()?)),
                })
            })
            .collect()
    }

    /// Other names of files.
    pub(super) fn links(&self) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for row in self.table.iter().filter(|row| row.check().is_ok()) {
            let Some(other) = row.same_as else { continue };
            if let (Ok(plan), Ok(of)) = (&row.plan, &self.table[other].plan) {
                for (output, of) in plan.outputs.iter().zip(&of.outputs) {
                    links.push(Link {
                        file: file_name(&output.path)?,
                        of: file_name(&of.path)?,
                    });
                }
            }
        }
        Ok(links)
    }

    /// Entries that cannot be made.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        let failed = |row: &RowPlan<'_>| {
            Some(LeftOut {
                preset: row.entry.name.to_string(),
                reason: row.check().err()?,
            })
        };
        self.table.iter().filter_map(failed).collect()
    }

    /// The tensors, with their encodings.
    pub(super) fn tensors(&self, source: &dyn Source) -> Vec<Tensor> {
        let of_job = |job: &Job| {
            let from = &source.tensors()[job.source];
            Tensor {
                tensor: from.name.clone(),
                from: from.ty.name().to_owned(),
                shape: from.shape.clone(),
                piece_rows: assign::piece_rows(job),
                cost_us: u64::try_from(assign::cost(job) / 1_000_000).unwrap_or(u64::MAX),
                encodings: job
                    .targets
                    .iter()
                    .map(|target| Encoding {
                        ty: target.ty.name().to_owned(),
                        importance: target.importance.is_some(),
                        files: target.wanted_by.iter().map(|&(output, _)| output).collect(),
                    })
                    .collect(),
            }
        };
        self.jobs.iter().map(of_job).collect()
    }

    /// Picoseconds that learning takes, over all files.
    fn cost_of_learning(&self) -> u128 {
        let Some(tokens) = self.learned else { return 0 };
        let files = self.outputs.iter().map(|o| u128::from(o.weights()));
        files
            .map(|weights| weights * u128::from(cost::learn(tokens)))
            .sum()
    }

    /// The work in numbers.
    pub(super) fn work(&self) -> Work {
        let cost: u128 = self.jobs.iter().map(assign::cost).sum();
        Work {
            weights: self
                .jobs
                .iter()
                .map(|j| j.rows.saturating_mul(j.row_len as u64))
                .sum(),
            bytes: self.outputs.iter().map(OutputPlan::file_size).sum(),
            pieces: self.jobs.iter().map(assign::pieces).sum(),
            cost_ms: u64::try_from((cost + self.cost_of_learning()) / 1_000_000_000).unwrap_or(u64::MAX),
        }
    }
}

/// For each output the row of the table that makes it.
fn rows_of<'t>(table: &'t [RowPlan<'_>]) -> impl Iterator<Item = (usize, &'t OutputPlan<'t>)> {
    let made = |row: &&RowPlan<'_>| row.check().is_ok() && row.same_as.is_none();
    let rows = table.iter().enumerate().filter(move |(_, row)| made(row));
    rows.flat_map(|(at, row)| {
        row.plan
            .iter()
            .flat_map(move |plan| plan.outputs.iter().map(move |o| (at, o)))
    })
}

/// Tokens that the keys of files say their blocks are learned from.
fn learned_tokens(record: &[(String, Value)]) -> Option<u64> {
    let number = |name: &str| {
        let key = format!("{OPTIMIZE_KEYS}{name}");
        let (_, value) = record.iter().find(|(other, _)| *other == key)?;
        value.as_u64()
    };
    Some(number("windows")?.saturating_mul(number("window")?))
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Error::input(
            path,
            "expected a name in UTF-8, which a plan can hold, found other bytes",
        )
    })
}
