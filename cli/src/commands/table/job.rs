//! The making of a table, step by step.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use convert::digest;
use convert::importance::Importance;
use convert::plan::OutputPlan;
use convert::quantize::QuantizeOptions;
use convert::recipe::Preset;
use convert::source::Source;
use convert::table::{self, RowPlan, TableOptions};
use publish::record::{self, State};

use super::chosen::{self, Chosen, Wanted};
use super::evaluate::Base;
use super::keeper::{self, Keeper};
use super::texts::{Texts, calibration_name};
use super::{Making, Place};
use crate::args::importance::MatrixOrigin;
use crate::log::Log;
use crate::optimization::Prepared;
use crate::progress::metered;

/// The model, and what it is called.
pub(super) struct Named<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Whether it is the one inside the program.
    pub(super) demo: bool,
}

/// A table to be made.
pub(super) struct Job<'a> {
    args: &'a Making,
    pub(super) model: Named<'a>,
    /// The table; [`Job::plan`] adds entries of types that are chosen.
    pub(super) options: TableOptions,
    better: Prepared,
    pub(super) texts: Texts,
    evaluate: bool,
    /// Whether an importance matrix is made first.
    calibrate: bool,
    /// Whether the unquantized model is run.
    with_base: bool,
    /// File of a matrix that is made.
    matrix: PathBuf,
    /// The matrix that is given, or is expected of the run.
    importance: Option<Importance>,
    wanted: Vec<Wanted>,
    journal: Option<PathBuf>,
    dry_run: bool,
}

/// An importance matrix, and its file.
pub(super) struct Matrix {
    importance: Option<Importance>,
    pub(super) file: Option<PathBuf>,
}

/// Everything that is to be written.
pub(super) struct Plan<'a> {
    pub(super) rows: Vec<RowPlan<'a>>,
    pub(super) chosen: Chosen,
}

/// State that a run begins with.
pub(super) struct Begun {
    /// Record of the run that it continues.
    pub(super) earlier: Option<record::Table>,
    pub(super) started: Instant,
    pub(super) log: Log,
}

impl<'a> Job<'a> {
    /// Reads everything that is named, and finds what is asked for.
    pub(super) fn new(args: &'a Making, model: Named<'a>, place: &Place<'_>) -> anyhow::Result<Self> {
        let dry_run = place.dry_run;
        let source = model.source;
        let evaluate = !args.no_eval && !dry_run;
        let obstacle = crate::measurable::obstacle(source.metadata().architecture());
        if let Some(obstacle) = obstacle.filter(|_| evaluate) {
            bail!(
                "{}: {obstacle}, so its quants cannot be evaluated; --no-eval writes the files without",
                model.path.display()
            );
        }
        let better = args.prepare_optimization(source, &model.path)?;
        let name = &model.name;
        let directory = place
            .out
            .map_or_else(|| PathBuf::from(format!("{name}-GGUF")), Path::to_path_buf);
        let options = TableOptions::new(args.entries()?, directory, name).quantize(
            QuantizeOptions::new(Preset::Q8_0)
                .recipe(args.types_of_tensors.recipe(Preset::Q8_0)?)
                .allow_requantize(args.allow_requantize)
                .allow_incomplete(args.allow_incomplete)
                .missing_importance(args.importance.missing())
                .shards(args.shards.gguf_split())
                .record(better.record.clone()),
        );
        let origin = args.matrix_origin();
        let calibrate = origin == MatrixOrigin::Made && !dry_run;
        let learns = args.optimize.learns() || args.runs_for_types();
        let texts = Texts::read(source, args, evaluate, calibrate)?;
        let matrix = match place.matrix {
            Some(name) => options.directory.join(name),
            None => options.directory.join(format!("{name}-imatrix.gguf")),
        };
        let importance = match &origin {
            MatrixOrigin::File(file) => args.importance.load(file)?,
            MatrixOrigin::Made => {
                let text = calibration_name(args);
                Some(args.importance.expect(source.tensors(), &matrix, &text))
            }
            MatrixOrigin::None => None,
        };
        Ok(Self {
            wanted: chosen::wanted(args, source, &options, importance.as_ref())?,
            journal: args.memory.journal(&options.directory.join(name)),
            args,
            model,
            options,
            better,
            texts,
            evaluate,
            calibrate,
            with_base: evaluate || calibrate || learns && !dry_run,
            matrix,
            importance,
            dry_run,
        })
    }

    fn record_file(&self) -> PathBuf {
        self.options.directory.join(record::FILE)
    }

    fn log_file(&self) -> PathBuf {
        self.options.directory.join(record::LOG)
    }

    /// Checks what is going to be written, before the model is run; the record of the run that this one continues.
    pub(super) fn check(&self) -> anyhow::Result<Option<record::Table>> {
        if self.dry_run {
            return Ok(None);
        }
        let directory = &self.options.directory;
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        gguf::check_not_input(&self.record_file())?;
        gguf::check_not_input(&self.log_file())?;
        let earlier = match self.args.memory.resume() {
            true => record::Table::load_if_there(&self.record_file())?,
            false => None,
        };
        self.check_outputs()?;
        Ok(earlier)
    }

    fn check_outputs(&self) -> anyhow::Result<()> {
        digest::check_manifest(&self.options.directory)?;
        if self.calibrate {
            gguf::check_target(&self.matrix, 0)?;
        }
        // What a continued run has written is there already.
        let continued = self.journal.is_some();
        let mut needed = if continued {
            0
        } else {
            beside_the_files(self.model.source, self.with_base, self.calibrate)?
        };
        // Names and sizes do not depend on importance, which there may be none of yet.
        for row in table::plan(self.model.source, &self.options, None)? {
            for output in row.plan.iter().flat_map(|plan| &plan.outputs) {
                if continued {
                    gguf::check_not_input(&output.path)?;
                } else {
                    gguf::check_target(&output.path, 0)?;
                    needed = needed.saturating_add(output.file_size());
                }
            }
        }
        for Wanted { path, bytes, .. } in &self.wanted {
            gguf::check_not_input(path)?;
            if !continued {
                gguf::check_target(path, 0)?;
                needed = needed.saturating_add(*bytes);
            }
        }
        // All files of the run are there together, so that room for each of them is not enough.
        gguf::check_space(&self.options.directory.join("all files of the table"), needed)?;
        Ok(())
    }

    /// The unquantized model, where it is run.
    pub(super) fn open_base(&self) -> anyhow::Result<Option<Base>> {
        let open = || Base::open(self.model.source, &self.options.directory, self.args);
        self.with_base.then(open).transpose()
    }

    /// The importance matrix, made if that is asked for.
    pub(super) fn importance(
        &mut self,
        base: Option<&Base>,
        earlier: Option<&record::Table>,
    ) -> anyhow::Result<Matrix> {
        let Some(base) = base.filter(|_| self.calibrate) else {
            return Ok(Matrix {
                importance: self.importance.take(),
                file: self.args.matrix_file().map(Path::to_path_buf),
            });
        };
        let file = self.matrix.clone();
        // An interrupted run has got that far already.
        let begun = self.journal.as_deref().is_some_and(Path::exists) && file.exists();
        let known = earlier.and_then(|e| e.importance.as_ref());
        if begun || known.is_some_and(|known| keeper::made_before(known, &file, &self.texts, self.args)) {
            eprintln!("continuing with {}", file.display());
        } else {
            base.calibrate(&file, &self.texts, self.args)?;
        }
        Ok(Matrix {
            importance: self.args.importance.load(&file)?,
            file: Some(file),
        })
    }

    /// Plans all files, those first whose types are chosen.
    pub(super) fn plan(
        &mut self,
        matrix: &Matrix,
        base: Option<&Base>,
        earlier: Option<&record::Table>,
    ) -> anyhow::Result<Plan<'a>> {
        let importance = matrix.importance.as_ref();
        let run = chosen::Run {
            args: self.args,
            source: self.model.source,
            options: &self.options,
            importance,
            base,
            earlier,
            dry_run: self.dry_run,
        };
        let chosen = run.choose(&self.wanted)?;
        self.options.entries.extend(chosen.entries.iter().cloned());
        let rows = table::plan(self.model.source, &self.options, importance)?;
        chosen.check(&rows, &self.wanted)?;
        Ok(Plan { rows, chosen })
    }

    /// Writes the files and measures them, as far as an earlier run has not; the record of it.
    pub(super) fn carry_out(
        &self,
        plan: &mut Plan<'a>,
        matrix: &Matrix,
        base: Option<Base>,
        begun: Begun,
    ) -> anyhow::Result<Keeper> {
        let source = self.model.source;
        let origin = keeper::Origin {
            path: &self.model.path,
            demo: self.model.demo,
            matrix: matrix.file.as_deref(),
            made: self.calibrate,
            chosen: &plan.chosen.records,
        };
        let rows = &mut plan.rows;
        let (name, options) = (&self.model.name, &self.options);
        let fresh = keeper::record_of(source, name, options, rows, &origin, &self.texts, self.args)?;
        let mut keeper = Keeper::new(self.record_file(), fresh, begun.started);
        if keeper.take_up(begun.earlier, source, &origin, rows)? {
            table::link(rows)?;
            eprintln!("all files are there already, and nothing is encoded");
        } else {
            if self.args.optimize.given() {
                optimize(&self.better, base.as_ref(), source, rows, self.args)?;
            }
            write_files(source, rows, self.args, self.journal.as_deref())?;
            keeper.digest_files(source, &origin, rows)?;
        }
        for plan in rows.iter().filter_map(|row| row.plan.as_ref().ok()) {
            self.better.forget(plan)?;
        }
        let mut published = table::files(rows);
        // A matrix that was made here is published beside the files.
        let here = |file: &&PathBuf| file.parent() == Some(options.directory.as_path());
        published.extend(matrix.file.iter().filter(here).cloned());
        digest::write_manifest(
            &options.directory,
            &published,
            &keeper.known_digests(rows),
            &|_| {},
        )?;
        keeper.save(State::Written)?;
        begun.log.write_to(&self.log_file(), self.args.memory.resume())?;
        keeper.log_files();
        crate::interrupt::can_be_continued(
            "the files are whole; the same command with --resume goes on evaluating them".to_owned(),
        );
        if let Some(base) = base.filter(|_| self.evaluate) {
            base.measure(source, rows, &mut keeper, &self.texts, self.args)?;
        }
        keeper.save(State::Finished)?;
        chosen::forget(&options.directory);
        Ok(keeper)
    }
}

/// Bytes that a run needs beside the files of the table: for the unquantized model of a directory, and for an importance
/// matrix and its checkpoint.
fn beside_the_files(source: &dyn Source, with_base: bool, with_matrix: bool) -> anyhow::Result<u64> {
    let mut needed = 0u64;
    if with_base && source.path().is_dir() {
        needed = OutputPlan::unquantized(PathBuf::new(), source, Vec::new())?.file_size();
    }
    if with_matrix {
        let columns = source.tensors().iter().filter(|t| t.shape.len() >= 2);
        let columns = columns.map(|t| t.shape[0].saturating_mul(t.shape.get(2).copied().unwrap_or(1)));
        needed = needed.saturating_add(columns.fold(0, u64::saturating_add).saturating_mul(2 * 4));
    }
    Ok(needed)
}

/// Gives the plans of all lines that can be made their better blocks.
fn optimize(
    better: &Prepared,
    base: Option<&Base>,
    source: &dyn Source,
    planned: &mut [RowPlan<'_>],
    args: &Making,
) -> anyhow::Result<()> {
    for row in planned.iter_mut() {
        if row.check().is_err() || row.same_as.is_some() {
            continue;
        }
        let Ok(plan) = &mut row.plan else { continue };
        match base {
            Some(base) if args.optimize.learns() => {
                better.learn(source, plan, base.model(), args.threads, args.memory.bytes())?;
            }
            _ => better.apply_without_model(source, plan)?,
        }
    }
    Ok(())
}

fn write_files(
    source: &dyn Source,
    planned: &[RowPlan<'_>],
    args: &Making,
    journal: Option<&Path>,
) -> anyhow::Result<()> {
    for (row, problem) in planned
        .iter()
        .filter_map(|row| row.check().err().map(|e| (row, e)))
    {
        eprintln!(
            "left out: {}: {}",
            row.entry.name,
            crate::remedy::appended(&problem, row.remedy())
        );
    }
    if planned.iter().all(|row| row.check().is_err()) {
        bail!("none of the presets can be made of this model");
    }
    let options = args.pipeline();
    Ok(metered(|show| {
        table::execute(source, planned, &options, journal, show)
    })?)
}
