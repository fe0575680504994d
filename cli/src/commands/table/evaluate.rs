//! The unquantized model of `quantsmith table`: it makes the importance matrix, and the files are measured
//! against it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use convert::digest::{Kind, of_bytes};
use convert::distribute::EvaluationPart;
use convert::scratch::Scratch;
use convert::source::Source;
use convert::table::RowPlan;
use imatrix::Accumulator;
use publish::record::{self, State};
use reference::calibration::collect;
use reference::divergence::{self, Journal, Notes, Observation};
use reference::tokenizer::Tokenizer;
use reference::{Model, PerplexityOptions};

use super::keeper::{Keeper, UPDATE_EVERY};
use super::texts::{self, EvaluationTexts, Texts};
use super::{Making, figures, weights};
use crate::context::warn_of_length;
use crate::interrupt;
use crate::progress::{Meter, Unit};
use crate::threads::in_pool;

/// The unquantized model, ready to run.
pub(super) struct Base {
    model: Model,
    tokenizer: Tokenizer,
}

impl Base {
    /// Opens the source's own GGUF file, or makes one of a model directory, which is gone after use.
    pub(super) fn open(source: &dyn Source, directory: &Path, args: &Making) -> anyhow::Result<Self> {
        let model = if source.path().is_dir() {
            let folder = Scratch::new(directory)?;
            let file = folder.path().join("base.gguf");
            crate::base::write_source(source, &file, &args.pipeline())?;
            // Once open, the file needs no name.
            Model::load(&file)?
        } else {
            Model::load(source.path())?
        };
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
        warn_of_length(model.gguf().metadata(), args.ctx_size);
        Ok(Self { model, tokenizer })
    }

    /// The model.
    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// Makes an importance matrix.
    pub(super) fn calibrate(&self, file: &Path, texts: &Texts, args: &Making) -> anyhow::Result<()> {
        let text = texts.calibration.as_ref().context("no calibration text")?;
        let calibration = texts::calibration(args, texts.bos);
        let window = u32::try_from(args.calibration_ctx).context("--calibration-ctx is too large")?;
        let mut collected = Accumulator::new(window);
        let meter = Meter::new("calibrate", Unit::Windows);
        meter.show(0, calibration.windows(&text.tokens)? as u64);
        // A run that made the matrix goes on with it; one that is still at it begins again.
        let before = interrupt::meanwhile(
            "the importance matrix was not finished and nothing stays; the same command begins again",
        );
        in_pool(args.threads, || {
            collect(
                &self.model,
                &text.tokens,
                &calibration,
                &mut collected,
                0,
                &mut |step| {
                    for (window, tensor) in &step.set_aside {
                        meter.print(&format!(
                            "warning: window {window} is set aside: the inputs of {tensor} are not finite"
                        ));
                    }
                    meter.show(step.done as u64, step.of as u64);
                    anyhow::Ok(())
                },
            )
        })??;
        meter.finish();
        drop(before);
        let mut matrix = collected.totals().clone();
        // Where the text lay is nobody's business who gets the matrix.
        matrix.datasets.push(text.record.name.clone());
        Ok(matrix.save(file)?)
    }

    /// Runs this model and every file side by side over the evaluation text, and records what they make of it. What an
    /// earlier run has noted is not run again.
    pub(super) fn measure(
        self,
        source: &dyn Source,
        planned: &[RowPlan<'_>],
        keeper: &mut Keeper,
        texts: &Texts,
        args: &Making,
    ) -> anyhow::Result<()> {
        let text = texts.evaluation.as_ref().context("no evaluation text")?;
        let distinct = distinct(planned);
        let options = options(text, texts, args);
        let journal_file = journal_file(keeper.path());
        if keeper.table().rows.iter().any(|row| row.measured.is_some()) {
            // Nothing is left of an evaluation that is finished.
            let _ = std::fs::remove_file(&journal_file);
            return Ok(());
        }
        self.weigh(source, planned, &distinct, keeper, args)?;
        let rounding = args.rounding.measuring();
        let base = self.model.with_rounding(rounding);
        let models = distinct
            .iter()
            .map(|&i| Ok(Model::load(&planned[i].path)?.with_rounding(rounding)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let name = fingerprint(keeper.table(), text, &options);
        let journal = Journal::open(&journal_file, &name, args.memory.resume())?;
        if !journal.is_empty() {
            eprintln!(
                "the evaluation goes on: {} runs of a file over some windows are known",
                journal.len()
            );
        }
        // Every file over every window; one that is decided with --precision runs over fewer.
        let runs = (text.chunks * distinct.len()) as u64;
        let meter = Meter::of("evaluate", Unit::Windows, runs);
        let mut notes = Noting {
            journal,
            meter: &meter,
            seen: vec![Vec::new(); distinct.len()],
            updated: Instant::now(),
            rows: &distinct,
            planned,
            text,
            context: args.ctx_size,
            keeper,
            tokenizer: &self.tokenizer,
        };
        let seen = in_pool(args.threads, || {
            divergence::compare_noting(
                &base,
                &models,
                &text.tokens,
                &options,
                args.precision,
                &mut notes,
                &mut |_| {},
            )
        })??;
        meter.finish();
        notes.seen = seen;
        notes.update(true);
        let journal = notes.journal;
        keeper.save(State::Finished)?;
        Ok(journal.remove()?)
    }

    /// Records the errors of the files' weights.
    fn weigh(
        &self,
        source: &dyn Source,
        planned: &[RowPlan<'_>],
        distinct: &[usize],
        keeper: &mut Keeper,
        args: &Making,
    ) -> anyhow::Result<()> {
        let meter = Meter::of("compare weights", Unit::Files, distinct.len() as u64);
        for &at in distinct {
            if !keeper.table().rows[at].weight_errors.is_empty() {
                meter.add(1);
                continue;
            }
            let tensors = &keeper.table().model.tensors;
            let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
            let found = in_pool(args.threads, || {
                weights::errors(source, &names, &planned[at].path)
            })??;
            keeper.table_mut().rows[at].weight_errors = found;
            meter.add(1);
        }
        keeper.save(State::Evaluating)
    }
}

impl Base {
    /// Runs this model and the files of a part over its windows.
    pub(super) fn measure_part(
        self,
        planned: &[RowPlan<'_>],
        part: &mut EvaluationPart,
        texts: &Texts,
        args: &Making,
    ) -> anyhow::Result<()> {
        let text = texts.evaluation.as_ref().context("no evaluation text")?;
        let distinct = distinct(planned);
        let options = options(text, texts, args);
        let rounding = args.rounding.measuring();
        let base = self.model.with_rounding(rounding);
        let runs = part.share.runs.clone();
        let of: usize = runs.iter().map(|(windows, _)| windows.len()).sum();
        let meter = Meter::of("evaluate", Unit::Windows, of as u64);
        let mut before = 0;
        for (windows, files) in runs {
            let models = files
                .map(|file| {
                    let path = &planned[distinct[file]].path;
                    Ok((file, Model::load(path)?.with_rounding(rounding)))
                })
                .collect::<anyhow::Result<Vec<_>>>()?;
            let models: Vec<(usize, &Model)> = models.iter().map(|(file, model)| (*file, model)).collect();
            let count = windows.len();
            in_pool(args.threads, || {
                divergence::compare_windows(&base, &models, &text.tokens, &options, windows, part, &mut |p| {
                    meter.show((before + p.windows) as u64, of as u64);
                })
            })??;
            before += count;
        }
        Ok(())
    }
}

/// The rows whose files are measured: those that are made and no other names.
pub(super) fn distinct(planned: &[RowPlan<'_>]) -> Vec<usize> {
    let made = |row: &RowPlan<'_>| row.check().is_ok() && row.same_as.is_none();
    (0..planned.len()).filter(|&i| made(&planned[i])).collect()
}

/// How the windows are run.
fn options(text: &EvaluationTexts, texts: &Texts, args: &Making) -> PerplexityOptions {
    // Those of each text are chosen already.
    texts::options(args, texts.bos).chunks(Some(text.chunks))
}

/// The journal of the evaluation beside a record.
pub(super) fn journal_file(record: &Path) -> PathBuf {
    record.with_file_name(".table.evaluation")
}

/// A digest of everything that decides the observations.
fn fingerprint(table: &record::Table, text: &EvaluationTexts, options: &PerplexityOptions) -> String {
    let mut all = Vec::new();
    for file in table.source.files.iter().chain(table.files()) {
        all.extend(file.sha256.as_bytes());
    }
    let rounding = table.evaluation.as_ref().map(|e| e.rounding.as_str());
    let rest = format!(
        "{} {} {:?} {:?} {:?} {rounding:?}",
        table.tool.version, options.context, options.chunks, options.bos, text.texts
    );
    all.extend(rest.as_bytes());
    for token in &text.tokens {
        all.extend(token.to_le_bytes());
    }
    of_bytes(Kind::Sha256, &all)
}

/// Observations as they are made: noted for a run that continues this one, and now and then recorded as figures.
struct Noting<'a> {
    journal: Journal,
    meter: &'a Meter,
    seen: Vec<Vec<Observation>>,
    updated: Instant,
    rows: &'a [usize],
    planned: &'a [RowPlan<'a>],
    text: &'a EvaluationTexts,
    context: usize,
    keeper: &'a mut Keeper,
    tokenizer: &'a Tokenizer,
}

impl Noting<'_> {
    /// Makes figures of what has been seen; `whole` once that is all.
    fn update(&mut self, whole: bool) {
        let view = figures::View {
            texts: &self.text.texts,
            tokens: &self.text.tokens,
            context: self.context,
            tokenizer: whole.then_some(self.tokenizer),
        };
        let table = self.keeper.table_mut();
        figures::record(table, self.planned, self.rows, &self.seen, &view);
    }
}

impl Notes for Noting<'_> {
    fn known(&mut self, model: usize, windows: Range<usize>) -> Option<Vec<Observation>> {
        let known = self.journal.known(model, windows.clone())?;
        self.meter.add(windows.len() as u64);
        self.seen[model].extend(&known);
        Some(known)
    }

    fn note(&mut self, model: usize, windows: Range<usize>, seen: &[Observation]) -> reference::Result<()> {
        self.journal.note(model, windows.clone(), seen)?;
        self.meter.add(windows.len() as u64);
        self.seen[model].extend(seen);
        if self.updated.elapsed() >= UPDATE_EVERY {
            self.update(false);
            // The journal has what the record could not be given.
            if let Err(e) = self.keeper.save(State::Evaluating) {
                self.meter.print(&format!("warning: {e:#}"));
            }
            self.updated = Instant::now();
        }
        Ok(())
    }
}
