//! The evaluation of a plan's files in parts: `table`'s own, over some windows, and its record made of all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Parser as _;
use convert::digest::{MANIFEST, file_sha256, read_manifest};
use convert::distribute::{
    EvaluationDeal, EvaluationPart, EvaluationShare, Incomplete, InputOf, JoinedEvaluation, Layout, Part,
    PlannedEvaluation, Request, Weighed, finish_evaluation, is_evaluated, is_joined, join_evaluation,
};
use convert::source::Source;
use publish::record::{self, FileDigest, State, Table};
use reference::tokenizer::Tokenizer;

use super::digests::{self, last};
use super::evaluate::{self, Base};
use super::keeper::{self, Keeper};
use super::planned::Planned;
use super::report::{self, Report};
use super::suite::Suite;
use super::texts::{EvaluationTexts, Texts};
use super::{Making, figures, weights};
use crate::args::chunks::Chunks;
use crate::args::importance::{ImportanceUse, MatrixOrigin};
use crate::args::memory::MemoryArgs;
use crate::args::rounding::RoundingArgs;
use crate::args::shards::ShardArgs;
use crate::log::Log;
use crate::threads::in_pool;

/// The arguments of `table`, for its defaults.
#[derive(clap::Parser)]
#[command(name = "table")]
struct Equivalent {
    #[command(flatten)]
    making: Making,
}

/// Where the files that a plan names are here, and what of the machine may be used.
#[derive(Clone, Copy, Default)]
pub(crate) struct Here<'a> {
    pub(crate) imatrix: Option<&'a Path>,
    /// The text, or the folder of texts.
    pub(crate) texts: Option<&'a Path>,
    pub(crate) threads: usize,
    pub(crate) max_memory: Option<u64>,
}

/// The arguments with which `table` makes and measures the same files.
fn making(request: &Request, here: &Here<'_>) -> anyhow::Result<Making> {
    let evaluation = request
        .evaluation
        .as_ref()
        .context("the plan has no evaluation")?;
    let mut making = Equivalent::try_parse_from(["table"])?.making;
    making.imatrix = Some(MatrixOrigin::None);
    if let (Some(used), Some(file)) = (&request.imatrix, here.imatrix) {
        making.imatrix = Some(MatrixOrigin::File(file.to_path_buf()));
        making.importance = ImportanceUse::of(used);
    }
    making.pre_tokenizer.clone_from(&request.pre_tokenizer);
    if let Some(split) = &request.split {
        making.shards = ShardArgs::of(split);
    }
    match (here.texts, evaluation.suite.as_deref()) {
        (Some(folder), Some(_)) => making.suite = Some(Suite::Folder(folder.to_path_buf())),
        (Some(text), None) => making.text = Some(text.to_path_buf()),
        (None, Some(Suite::BUNDLED)) => making.suite = Some(Suite::Bundled),
        (None, Some(folder)) => making.suite = Some(Suite::Folder(folder.into())),
        (None, None) => {}
    }
    making.ctx_size = evaluation.context;
    making.chunks = Chunks::of(evaluation.chunks).map_err(|e| anyhow!("key 'evaluation.chunks': {e}"))?;
    making.rounding = RoundingArgs::named(&evaluation.rounding).with_context(|| {
        format!(
            "key 'evaluation.rounding': expected none or llama.cpp, found {:?}",
            evaluation.rounding
        )
    })?;
    making.threads = here.threads;
    if let Some(bytes) = here.max_memory {
        making.memory = MemoryArgs::at_most(bytes);
    }
    Ok(making)
}

/// Reads the texts, and says how much is to be measured.
pub(crate) fn plan(
    source: &dyn Source,
    request: &Request,
    here: &Here<'_>,
) -> anyhow::Result<PlannedEvaluation> {
    if let Some(obstacle) = crate::measurable::obstacle(source.metadata().architecture()) {
        bail!(
            "{}: {obstacle}, so its quants cannot be evaluated; without --evaluate, files are planned",
            source.path().display()
        );
    }
    let making = making(request, here)?;
    let texts = Texts::read(source, &making, true, false)?;
    let texts = texts.evaluation.as_ref().context("no evaluation text")?;
    Ok(planned(texts, &making))
}

fn planned(texts: &EvaluationTexts, making: &Making) -> PlannedEvaluation {
    PlannedEvaluation {
        tokens: texts.texts.iter().map(|text| text.text.tokens as u64).sum(),
        windows: texts.chunks as u64,
        scored: figures::scored(making.ctx_size) as u64,
    }
}

/// The evaluation of a plan.
pub(crate) struct Evaluation<'a> {
    planned: &'a Planned,
    layout: &'a Layout<'a>,
    making: Making,
    texts: Texts,
    /// The record of `table` before anything is measured.
    fresh: Table,
    /// Rows of the table whose files are measured.
    distinct: Vec<usize>,
    deal: EvaluationDeal,
    scored: usize,
}

/// Outcome of a run of a part.
pub(crate) enum PartDone {
    /// The evaluation is joined already.
    Joined,
    /// Runs of a file over a window, and those of them that an earlier run of the part had noted.
    Measured { runs: usize, found: usize },
}

impl<'a> Evaluation<'a> {
    /// Reads the texts and prepares the record.
    pub(crate) fn new(
        planned: &'a Planned,
        layout: &'a Layout<'a>,
        threads: usize,
        max_memory: Option<u64>,
    ) -> anyhow::Result<Self> {
        let request = &planned.document.request;
        let Some(expected) = planned.document.evaluation else {
            bail!("the plan has no evaluation: `quantsmith plan --evaluate` makes one that has");
        };
        let here = Here {
            imatrix: planned.imatrix(),
            texts: planned.texts(),
            threads,
            max_memory,
        };
        let making = making(request, &here)?;
        let source = planned.source();
        let texts = Texts::read(source, &making, true, false)?;
        let read = texts.evaluation.as_ref().context("no evaluation text")?;
        let found = self::planned(read, &making);
        ensure!(
            found == expected,
            "{}: these texts give another evaluation: expected {expected:?}, found {found:?}",
            read.name
        );
        let rows = layout.table();
        let options = request.options(&planned.directory, &planned.better().record)?;
        let chosen = BTreeMap::new();
        let origin = keeper::Origin {
            path: source.path(),
            demo: false,
            matrix: planned.imatrix(),
            made: false,
            chosen: &chosen,
        };
        let fresh = keeper::record_of(source, &request.name, &options, rows, &origin, &texts, &making)?;
        let distinct = evaluate::distinct(rows);
        let weights = fresh.model.tensors.iter().map(|t| t.shape.iter().product());
        Ok(Self {
            deal: EvaluationDeal {
                files: distinct.len(),
                windows: read.chunks,
                weights: weights.collect(),
            },
            scored: figures::scored(making.ctx_size),
            planned,
            layout,
            making,
            texts,
            fresh,
            distinct,
        })
    }

    /// Refuses files that are not there yet.
    fn check_joined(&self) -> anyhow::Result<()> {
        ensure!(
            is_joined(&self.planned.document, self.layout)?,
            "{}: the plan's files are not joined here, and nothing else is measured: `quantsmith join` first",
            self.planned.directory.display()
        );
        Ok(())
    }

    /// Measures a part, or what an earlier run of it has left.
    pub(crate) fn run(&self, part: Part) -> anyhow::Result<PartDone> {
        let document = &self.planned.document;
        self.check_joined()?;
        if is_evaluated(document, self.layout)? {
            return Ok(PartDone::Joined);
        }
        let mut part = EvaluationPart::open(document, self.layout, &self.deal, part, self.scored)?;
        let share = part.share.clone();
        let (runs, found) = (share.each().count(), part.noted());
        let weighed = part.weighed()?;
        if found < runs || weighed.is_none() {
            let files = self.digests(&share)?;
            match weighed {
                Some(weighed) => ensure!(
                    weighed.files == files,
                    "{}: the files are not those that this part has begun to measure",
                    self.planned.directory.display()
                ),
                None => part.note_weighed(&Weighed {
                    files,
                    errors: self.weigh(&share)?,
                })?,
            }
        }
        if found < runs {
            let base = Base::open(self.planned.source(), &self.planned.directory, &self.making)?;
            base.measure_part(self.layout.table(), &mut part, &self.texts, &self.making)?;
        }
        Ok(PartDone::Measured { runs, found })
    }

    /// Digests of the files that a part measures, which are those that the join of the files wrote down.
    fn digests(&self, share: &EvaluationShare) -> anyhow::Result<BTreeMap<String, String>> {
        let sums = read_manifest(&self.planned.directory)?;
        let mut files = BTreeMap::new();
        for file in share.files() {
            let plan = &self.layout.table()[self.distinct[file]].plan;
            for output in plan.iter().flat_map(|plan| &plan.outputs) {
                let name = last(&output.path);
                let found = file_sha256(&output.path)?;
                let expected = sums.iter().find(|entry| entry.name == name);
                let expected = expected.map_or("none", |entry| entry.sha256.as_str());
                ensure!(
                    found == expected,
                    "{}: expected SHA-256 {expected}, as {MANIFEST} has it, found {found}",
                    output.path.display()
                );
                files.insert(name, found);
            }
        }
        Ok(files)
    }

    /// Errors of the weights of a part's tensors.
    fn weigh(&self, share: &EvaluationShare) -> anyhow::Result<BTreeMap<(usize, usize), Option<f64>>> {
        let mut errors = BTreeMap::new();
        for (file, tensors) in &share.weighed {
            let names = &self.fresh.model.tensors[tensors.clone()];
            let names: Vec<&str> = names.iter().map(|tensor| tensor.name.as_str()).collect();
            let path = &self.layout.table()[self.distinct[*file]].path;
            let found = in_pool(self.making.threads, || {
                weights::errors(self.planned.source(), &names, path)
            })??;
            errors.extend(tensors.clone().zip(found).map(|(tensor, e)| ((*file, tensor), e)));
        }
        Ok(errors)
    }

    /// Joins the parts into `table.json`; what is missing where that cannot be done.
    pub(crate) fn join(self) -> anyhow::Result<Result<Joined, Incomplete>> {
        let started = Instant::now();
        let log = Log::start();
        crate::log::line(format_args!("quantsmith {}", crate::version::version()));
        let planned = self.planned;
        self.check_joined()?;
        let file = planned.directory.join(record::FILE);
        let name = planned.document.request.name.clone();
        let rows = self.layout.table();
        let texts = self.texts.evaluation.as_ref().context("no evaluation text")?;
        let imatrix = planned.imatrix().map(Path::to_path_buf);
        let report = |table: &Table| {
            let path = planned.source().path().to_path_buf();
            Report::new(
                name.clone(),
                path,
                imatrix.clone(),
                rows,
                Some(table),
                texts.name.clone(),
            )
        };
        if is_evaluated(&planned.document, self.layout)?
            && let Some(table) = Table::load_if_there(&file)?
            && table.state == State::Finished
            && table.plan_sha256 == self.fresh.plan_sha256
        {
            return Ok(Ok(Joined {
                report: report(&table),
                directory: planned.directory.clone(),
            }));
        }
        gguf::check_not_input(&file)?;
        let log_file = planned.directory.join(record::LOG);
        gguf::check_not_input(&log_file)?;
        let names: Vec<&str> = self.distinct.iter().map(|&row| &*rows[row].entry.name).collect();
        let joined = join_evaluation(&planned.document, self.layout, &self.deal, self.scored, &names)?;
        let measured = match joined {
            JoinedEvaluation::Whole(measured) => measured,
            JoinedEvaluation::Incomplete(incomplete) => return Ok(Err(incomplete)),
        };
        let mut keeper = Keeper::new(file, self.fresh, started);
        keeper.table_mut().source.files = digests::of_source(planned.source(), &known(planned))?;
        keeper.digest_outputs(rows)?;
        for file in keeper.table().files() {
            if let Some((part, sha256)) = measured.files.get(&file.name) {
                ensure!(
                    *sha256 == file.sha256,
                    "{}: not the file that part {part} has measured: expected SHA-256 {sha256}, found {}",
                    planned.directory.join(&file.name).display(),
                    file.sha256
                );
            }
        }
        log.write_to(&log_file, false)?;
        keeper.log_files();
        let table = keeper.table_mut();
        for (errors, &row) in measured.weight_errors.into_iter().zip(&self.distinct) {
            table.rows[row].weight_errors = errors;
        }
        let tokenizer = Tokenizer::from_metadata(planned.source().metadata())?;
        let view = figures::View {
            texts: &texts.texts,
            tokens: &texts.tokens,
            context: self.making.ctx_size,
            tokenizer: Some(&tokenizer),
        };
        figures::record(table, rows, &self.distinct, &measured.seen, &view);
        keeper.save(State::Finished)?;
        finish_evaluation(&planned.document, self.layout)?;
        Ok(Ok(Joined {
            report: report(keeper.table()),
            directory: planned.directory.clone(),
        }))
    }
}

/// A table that is measured.
pub(crate) struct Joined {
    report: Report,
    directory: PathBuf,
}

impl Joined {
    /// Prints it as `table` does.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        report::print(&self.report, &self.directory, false)
    }

    /// `table`'s report.
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::to_value(&self.report)?)
    }
}

/// The digests of the model's files that the plan has.
fn known(planned: &Planned) -> Vec<FileDigest> {
    let model = planned
        .document
        .inputs
        .iter()
        .filter(|input| input.of == InputOf::Model);
    model
        .filter_map(|input| {
            Some(FileDigest {
                name: input.name.clone(),
                size: input.bytes,
                sha256: input.sha256.clone()?,
            })
        })
        .collect()
}
