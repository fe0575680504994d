//! Keeping of `table.json` while a table is made: what is recorded, and what an earlier run's record saves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use convert::digest::{Kind, ManifestEntry, file_sha256, of_bytes};
use convert::importance::MissingImportance;
use convert::plan::OutputPlan;
use convert::recipe::TensorTypeRule;
use convert::source::Source;
use convert::table::{self, RowPlan, TableOptions};
use imatrix::ImportanceMatrix;
use publish::record::{self, FileDigest, Row, SourceKind, State, Table};

use super::Making;
use super::digests::{self, last};
use super::texts::{EvaluationTexts, Texts};
use crate::args::rounding;
use crate::hashing::Hashing;
use crate::log;
use crate::optimization::keys_of;

/// Source and importance of the files.
pub(super) struct Origin<'a> {
    /// The model as it was given.
    pub(super) path: &'a Path,
    /// Whether it is the one inside the program.
    pub(super) demo: bool,
    /// The importance matrix.
    pub(super) matrix: Option<&'a Path>,
    /// Whether this run makes it.
    pub(super) made: bool,
    /// How types were chosen for the model, by the name of the file's entry.
    pub(super) chosen: &'a BTreeMap<String, record::Chosen>,
}

/// The record of a run at work.
pub(super) struct Keeper {
    path: PathBuf,
    table: Table,
    started: Instant,
    /// Seconds of the runs that this one continues.
    before: f64,
}

impl Keeper {
    /// Keeps a record that nothing is written of yet.
    pub(super) fn new(path: PathBuf, table: Table, started: Instant) -> Self {
        Self {
            path,
            table,
            started,
            before: 0.0,
        }
    }

    /// The record.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// The record's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The record, for changes.
    pub(super) fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    /// Takes up what an earlier run has recorded, if it was the same run and its files are there: whether it was. The
    /// source and every file are read again for it.
    pub(super) fn take_up(
        &mut self,
        earlier: Option<Table>,
        source: &dyn Source,
        origin: &Origin<'_>,
        planned: &[RowPlan<'_>],
    ) -> anyhow::Result<bool> {
        let Some(earlier) = earlier else {
            return Ok(false);
        };
        if !is_same_run(&earlier, &self.table) {
            return Ok(false);
        }
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let hashing = Hashing::of(earlier.files().map(|file| directory.join(&file.name)));
        for file in earlier.files() {
            let path = directory.join(&file.name);
            let there = std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == file.size);
            if !there || hashing.sha256(&path)? != file.sha256 {
                drop(hashing);
                eprintln!(
                    "{}: not the file that was made; all are made again",
                    path.display()
                );
                return Ok(false);
            }
        }
        drop(hashing);
        if planned.iter().any(|row| row.check().is_ok()) && earlier.files().next().is_none() {
            return Ok(false);
        }
        if earlier.source.architecture != self.table.source.architecture
            || of_source(source, origin)? != earlier.source.files
        {
            eprintln!(
                "{}: has changed since the files were made; all are made again",
                origin.path.display()
            );
            return Ok(false);
        }
        self.before = earlier.times.seconds;
        self.table.times = earlier.times;
        self.table.times.finished = None;
        self.table.source.files = earlier.source.files;
        // Figures of some windows alone are found again in the evaluation's journal.
        let measured = earlier.state == State::Finished
            && is_same_evaluation(self.table.evaluation.as_ref(), earlier.evaluation.as_ref());
        if measured {
            self.table.evaluation = earlier.evaluation;
        }
        for (row, earlier) in self.table.rows.iter_mut().zip(earlier.rows) {
            row.files = earlier.files;
            row.weight_errors = earlier.weight_errors;
            row.measured = earlier.measured.filter(|_| measured);
        }
        Ok(true)
    }

    /// Digests the files that were written, and what they were made of.
    pub(super) fn digest_files(
        &mut self,
        source: &dyn Source,
        origin: &Origin<'_>,
        planned: &[RowPlan<'_>],
    ) -> anyhow::Result<()> {
        self.table.source.files = of_source(source, origin)?;
        self.digest_outputs(planned)
    }

    /// Digests the files that were written.
    pub(super) fn digest_outputs(&mut self, planned: &[RowPlan<'_>]) -> anyhow::Result<()> {
        let made = |plan: &RowPlan<'_>| plan.check().is_ok() && plan.same_as.is_none();
        let all = planned.iter().filter(|plan| made(plan)).flat_map(|row| &row.plan);
        let hashing = Hashing::of(all.flat_map(|plan| &plan.outputs).map(|output| &output.path));
        for (row, plan) in self.table.rows.iter_mut().zip(planned) {
            if !made(plan) {
                continue;
            }
            for output in plan.plan.iter().flat_map(|plan| &plan.outputs) {
                let digest = digests::digest(&output.path, last(&output.path), &hashing)?;
                row.files.push(digest);
            }
        }
        self.table.times.written = Some(now());
        Ok(())
    }

    /// Digests of all files under all their names, for a manifest.
    pub(super) fn known_digests(&self, planned: &[RowPlan<'_>]) -> Vec<ManifestEntry> {
        let mut known = Vec::new();
        for (at, plan) in planned.iter().enumerate() {
            let files = &self.table.rows[plan.same_as.unwrap_or(at)].files;
            let outputs = plan.plan.iter().flat_map(|plan| &plan.outputs);
            known.extend(files.iter().zip(outputs).map(|(file, output)| ManifestEntry {
                name: last(&output.path),
                sha256: file.sha256.clone(),
            }));
        }
        if let Some(importance) = &self.table.importance {
            known.push(ManifestEntry {
                name: importance.file.name.clone(),
                sha256: importance.file.sha256.clone(),
            });
        }
        known
    }

    /// Tells the log what was made of what.
    pub(super) fn log_files(&self) {
        let source = &self.table.source;
        for file in &source.files {
            log::line(format_args!(
                "source: {} {} {}",
                file.sha256, file.name, file.size
            ));
        }
        if let Some(importance) = &self.table.importance {
            let file = &importance.file;
            log::line(format_args!("importance: {} {}", file.sha256, file.name));
        }
        for row in &self.table.rows {
            let preset = &row.preset;
            for tensor in &row.substituted {
                log::line(format_args!(
                    "{preset}: tensor '{}': {}, not {}: {}",
                    tensor.tensor, tensor.got, tensor.wanted, tensor.reason
                ));
            }
            for file in &row.files {
                log::line(format_args!(
                    "{preset}: {} {} {} bytes, {:.3} bits per weight",
                    file.sha256,
                    file.name,
                    file.size,
                    row.bits_per_weight.unwrap_or_default()
                ));
            }
            match (&row.same_as, &row.error) {
                (Some(same), _) => log::line(format_args!("{preset}: the same file as {same}")),
                (None, Some(error)) => log::line(format_args!("{preset}: not made: {error}")),
                (None, None) => {}
            }
        }
    }

    /// Writes the record in a state.
    pub(super) fn save(&mut self, state: State) -> anyhow::Result<()> {
        let times = &mut self.table.times;
        if times.started.is_empty() {
            let started = SystemTime::now().checked_sub(self.started.elapsed());
            times.started = stamp(started.unwrap_or(SystemTime::UNIX_EPOCH));
        }
        times.seconds = self.before + self.started.elapsed().as_secs_f64().round();
        if state == State::Finished {
            times.finished = Some(now());
        }
        self.table.state = state;
        Ok(self.table.save(&self.path)?)
    }
}

/// Whether two records are of the same files, made in the same way of what has the same names and digests.
fn is_same_run(a: &Table, b: &Table) -> bool {
    let row = |row: &Row| (row.preset.clone(), row.same_as.clone(), row.error.clone());
    a.plan_sha256 == b.plan_sha256
        && a.parameters == b.parameters
        && a.tool.llama_cpp == b.tool.llama_cpp
        && a.importance.as_ref().map(|i| &i.file.sha256) == b.importance.as_ref().map(|i| &i.file.sha256)
        && a.rows.iter().map(row).eq(b.rows.iter().map(row))
}

/// Whether two evaluations run over the same windows in the same way.
fn is_same_evaluation(a: Option<&record::Evaluation>, b: Option<&record::Evaluation>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            (&a.texts, a.context, a.chunks, &a.rounding, a.precision)
                == (&b.texts, b.context, b.chunks, &b.rounding, b.precision)
        }
        _ => false,
    }
}

/// Whether an earlier run made this matrix of the same windows, and it is as it was.
pub(super) fn made_before(known: &record::Importance, file: &Path, texts: &Texts, args: &Making) -> bool {
    let Some(text) = &texts.calibration else {
        return false;
    };
    let available = text.tokens.len() / args.calibration_ctx.max(1);
    let windows = args
        .calibration_chunks
        .most()
        .map_or(available, |most| most.min(available));
    known.made
        && known.text.as_ref() == Some(&text.record)
        && known.chunk_size as usize == args.calibration_ctx
        // Fewer where some were set aside; then it is made again.
        && known.chunks as usize == windows
        && file_sha256(file).is_ok_and(|found| found == known.file.sha256)
}

fn of_source(source: &dyn Source, origin: &Origin<'_>) -> anyhow::Result<Vec<FileDigest>> {
    if origin.demo {
        let of = |(name, bytes): &(&str, &[u8])| FileDigest {
            name: (*name).to_owned(),
            size: bytes.len() as u64,
            sha256: of_bytes(Kind::Sha256, bytes),
        };
        let mut files: Vec<FileDigest> = demo::FILES.iter().map(of).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        return Ok(files);
    }
    digests::of_source(source, &[])
}

/// The record of a run that is planned.
pub(super) fn record_of(
    source: &dyn Source,
    name: &str,
    options: &TableOptions,
    planned: &[RowPlan<'_>],
    origin: &Origin<'_>,
    texts: &Texts,
    args: &Making,
) -> anyhow::Result<Table> {
    let mut headers = Vec::new();
    let mut rows = Vec::new();
    for (plan, row) in planned.iter().zip(table::rows(planned)) {
        headers.extend(format!("{}\n", row.preset).into_bytes());
        if plan.same_as.is_none() {
            for output in outputs(plan) {
                let header = output.file_plan()?.header_bytes()?;
                headers.extend(of_bytes(Kind::Sha256, &header).into_bytes());
            }
        }
        rows.push(row_of(plan, row, origin));
    }
    let first = planned.iter().find(|plan| outputs(plan).next().is_some());
    Ok(Table {
        schema: record::SCHEMA,
        tool: tool(),
        model: record::Model {
            name: name.to_owned(),
            architecture: source.metadata().architecture().to_owned(),
            weights: first
                .and_then(|plan| plan.plan.as_ref().ok())
                .map_or(0, |plan| plan.weights()),
            tensors: first.map(|plan| tensors_of(source, plan)).unwrap_or_default(),
        },
        source: source_of(source, origin, args)?,
        parameters: parameters(options, args),
        importance: origin
            .matrix
            .map(|file| importance(file, origin.made, texts, args))
            .transpose()?,
        plan_sha256: of_bytes(Kind::Sha256, &headers),
        state: State::Written,
        evaluation: texts.evaluation.as_ref().map(|t| to_come(t, args)),
        rows,
        times: record::Times::default(),
    })
}

/// The files of a row that can be made.
fn outputs<'p, 'a>(plan: &'p RowPlan<'a>) -> impl Iterator<Item = &'p OutputPlan<'a>> {
    let made = plan.check().is_ok();
    plan.plan
        .iter()
        .flat_map(|plan| &plan.outputs)
        .filter(move |_| made)
}

/// The source's tensors that a row's files hold.
fn tensors_of(source: &dyn Source, plan: &RowPlan<'_>) -> Vec<record::Tensor> {
    outputs(plan)
        .flat_map(|output| output.contents())
        .map(|tensor| record::Tensor {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            ty: source.tensors()[tensor.source].ty.name().to_owned(),
        })
        .collect()
}

fn row_of(plan: &RowPlan<'_>, row: table::Row, origin: &Origin<'_>) -> Row {
    let substitution = |change: &convert::recipe::Change| record::Substitution {
        tensor: change.tensor.clone(),
        wanted: change.wanted.name().to_owned(),
        got: change.got.name().to_owned(),
        reason: change.reason.clone(),
        weights: change.weights,
    };
    let entry = &plan.entry;
    let recipe = match (entry.heads, entry.chosen.is_empty()) {
        (None, true) => entry.preset.to_string(),
        (Some(ty), _) => format!("{}, embeddings and output in {ty}", entry.preset),
        (None, false) => format!("{}, types chosen for this model", entry.preset),
    };
    Row {
        recipe: (recipe != row.preset).then_some(recipe),
        chosen: origin.chosen.get(&row.preset).cloned(),
        preset: row.preset,
        file: plan.check().is_ok().then(|| last(&row.file)),
        same_as: row.same_as,
        error: row.error,
        size: row.size_bytes,
        bits_per_weight: row.bits_per_weight,
        files: Vec::new(),
        substituted: row.substituted.iter().map(substitution).collect(),
        needs_importance: row.needs_importance,
        uniform_importance: row.uniform_importance,
        types: match plan.same_as {
            None => outputs(plan)
                .flat_map(|output| output.contents())
                .map(|tensor| tensor.ty.name().to_owned())
                .collect(),
            Some(_) => Vec::new(),
        },
        weight_errors: Vec::new(),
        measured: None,
    }
}

fn tool() -> record::Tool {
    let commit = env!("QUANTSMITH_COMMIT");
    record::Tool {
        name: "quantsmith".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        commit: (!commit.is_empty()).then(|| commit.to_owned()),
        llama_cpp: convert::LLAMA_CPP_RELEASE.into(),
    }
}

/// Where the model came from; its files are digested later.
fn source_of(source: &dyn Source, origin: &Origin<'_>, args: &Making) -> anyhow::Result<record::Source> {
    let snapshot = convert::hub::snapshot(origin.path);
    let canonical = origin.path.canonicalize();
    let described = args.architecture.file();
    Ok(record::Source {
        name: match &snapshot {
            Some(snapshot) => snapshot.repository.clone(),
            None => last(canonical.as_deref().unwrap_or(origin.path)),
        },
        kind: match (origin.demo, origin.path.is_dir()) {
            (true, _) => SourceKind::Demo,
            (_, true) => SourceKind::Directory,
            (_, false) => SourceKind::Gguf,
        },
        repository: snapshot.as_ref().map(|s| s.repository.clone()),
        revision: snapshot.map(|s| s.revision),
        ty: base_type(source),
        files: Vec::new(),
        architecture: described
            .map(|file| digests::digest(&file, last(&file), &Hashing::of([&file])))
            .transpose()?,
        card: card_of(origin),
    })
}

/// Longest model card that is kept in the record, in bytes.
const MAX_CARD: u64 = 1 << 20;

/// The model card of the source, for whoever publishes the files.
fn card_of(origin: &Origin<'_>) -> Option<String> {
    use std::io::Read as _;
    if origin.demo {
        let (_, bytes) = demo::FILES.iter().find(|(name, _)| *name == "README.md")?;
        return Some(String::from_utf8_lossy(bytes).into_owned());
    }
    let file = std::fs::File::open(origin.path.join("README.md")).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_CARD).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn importance(file: &Path, made: bool, texts: &Texts, args: &Making) -> anyhow::Result<record::Importance> {
    let matrix = ImportanceMatrix::load(file)?;
    Ok(record::Importance {
        file: digests::digest(file, last(file), &Hashing::of([file]))?,
        recorded_as: args.importance.recorded_name(file),
        made,
        text: texts.calibration.as_ref().map(|text| text.record.clone()),
        chunks: matrix.chunk_count,
        chunk_size: matrix.chunk_size,
        entries: matrix.entries.len(),
        datasets: matrix.datasets,
    })
}

fn parameters(options: &TableOptions, args: &Making) -> record::Parameters {
    let quantize = &options.quantize;
    let recipe = &quantize.recipe;
    let name = |ty: gguf::TensorType| ty.name().to_owned();
    let (include_weights, exclude_weights) = args.importance.selected();
    record::Parameters {
        pure: recipe.pure,
        leave_output_tensor: recipe.leave_output_tensor,
        output_tensor_type: recipe.output_tensor_type.map(name),
        token_embedding_type: recipe.token_embedding_type.map(name),
        tensor_types: recipe
            .tensor_types
            .iter()
            .map(TensorTypeRule::to_string)
            .collect(),
        no_fallback: recipe.no_fallback,
        allow_requantize: quantize.allow_requantize,
        allow_incomplete: quantize.allow_incomplete,
        uniform_importance: quantize.missing_importance == MissingImportance::Uniform,
        include_weights,
        exclude_weights,
        expert_prior: args.importance.expert_prior(),
        pre_tokenizer: args.pre_tokenizer.clone(),
        shards: args.shards.record(),
        optimize: keys_of(&quantize.record),
    }
}

/// Now, as RFC 3339 writes it.
fn now() -> String {
    stamp(SystemTime::now())
}

fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Least time between two updates of the record while files are measured.
pub(super) const UPDATE_EVERY: Duration = Duration::from_secs(2);

/// Record of an evaluation to come, without figures.
fn to_come(texts: &EvaluationTexts, args: &Making) -> record::Evaluation {
    record::Evaluation {
        texts: texts.texts.clone(),
        context: args.ctx_size,
        chunks: texts.chunks,
        rounding: rounding::name(args.rounding.measuring()).to_owned(),
        precision: args.precision,
        scored_tokens: 0,
        base_ppl: None,
        base_nll: Vec::new(),
    }
}

/// The type that holds most of the source's weights.
fn base_type(source: &dyn Source) -> String {
    let mut weights = BTreeMap::<&str, u64>::new();
    for t in source.tensors() {
        *weights.entry(t.ty.name()).or_default() += t.shape.iter().product::<u64>();
    }
    weights
        .into_iter()
        .max_by_key(|(_, n)| *n)
        .map_or_else(String::new, |(name, _)| name.to_owned())
}
