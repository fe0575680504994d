//! `quantsmith table`.

mod chosen;
mod digests;
mod evaluate;
mod figures;
mod keeper;
mod kinds;
pub(crate) mod parts;
mod report;
mod suite;
mod texts;
mod weights;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use convert::digest;
use convert::pipeline::PipelineOptions;
use convert::plan::OutputPlan;
use convert::quantize::QuantizeOptions;
use convert::recipe::Preset;
use convert::source::hf::{HfOptions, HfSource, OutType};
use convert::source::{GgufSource, Source};
use convert::table::{self, Entry, RowPlan, TableOptions};
use demo::CALIBRATION_TEXT;
use publish::record::{self, State};

use self::chosen::Wanted;
pub(crate) use self::chosen::entry;
use self::evaluate::Base;
use self::keeper::Keeper;
use self::report::Report;
use self::suite::Suite;
use self::texts::{Texts, calibration_name};
use crate::args::architecture::ArchitectureArgs;
use crate::args::chunks::Chunks;
use crate::args::importance::{ImportanceUse, MatrixOrigin};
use crate::args::memory::MemoryArgs;
use crate::args::rounding::RoundingArgs;
use crate::args::shards::ShardArgs;
use crate::args::target::TargetArgs;
use crate::args::types::TypeArgs;
use crate::demo::Demo;
use crate::hub;
use crate::inputs::hold;
use crate::log::Log;
use crate::optimization::{OptimizeArgs, Prepared};
use crate::progress::metered;

/// Arguments of `quantsmith table`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Model directory, GGUF file or model of the hub (ORG/MODEL[@REVISION]); the demo model where none is given
    model: Option<PathBuf>,

    /// Directory for the files [default: MODEL-GGUF in the current directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    making: Making,

    /// Show the table with exact sizes, and write nothing; headers of the model's files suffice
    #[arg(long)]
    dry_run: bool,

    /// Print the table as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,

    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments that say which files are made and how they are measured.
#[derive(clap::Args)]
pub(crate) struct Making {
    #[command(flatten)]
    architecture: ArchitectureArgs,

    /// Presets to make, by name and separated by commas, or a list's name: `published` (22, the default), `all`,
    /// `bartowski`, `mradermacher` (with an importance matrix), `mradermacher-static`, `ggml-org`. Q2_K_L, Q3_K_XL, Q4_K_L,
    /// Q5_K_L and Q6_K_L have their embeddings and output in Q8_0
    #[arg(long, value_name = "LIST", conflicts_with_all = ["types", "preset"])]
    presets: Option<String>,

    /// The same, as --presets
    #[arg(long, value_name = "LIST", conflicts_with = "preset")]
    types: Option<String>,

    /// A list of presets [default: full, and none where files are asked for by their size]
    #[arg(long, value_enum)]
    preset: Option<PresetList>,

    /// Make this many files whose types are chosen for the model, from 2.1 to 6.6 bits per weight as far as they can be
    /// reached; beside presets where these are named
    #[arg(long, value_name = "N", group = "target", value_parser = parse_count, conflicts_with = "save_recipe")]
    frontier: Option<usize>,

    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    types_of_tensors: TypeArgs,

    /// Importance matrix, of either of llama-imatrix's formats; `auto` makes one first (the default when the files are
    /// evaluated), `none` goes without
    #[arg(long, value_name = "FILE|auto|none", value_parser = MatrixOrigin::parser())]
    imatrix: Option<MatrixOrigin>,

    #[command(flatten)]
    importance: ImportanceUse,

    #[command(flatten)]
    optimize: OptimizeArgs,

    /// Text to calibrate an importance matrix on, with --imatrix auto [default: a bundled English text in the
    /// public domain, disjoint from the evaluation text]
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// Tokens in a window of the calibration
    #[arg(long, value_name = "N", default_value_t = 512)]
    calibration_ctx: usize,

    /// Calibrate on at most this many windows; -1 for all
    #[arg(long, value_name = "N", default_value = "-1", allow_negative_numbers = true)]
    calibration_chunks: Chunks,

    /// Text to evaluate on [default: a bundled English text in the public domain]
    #[arg(long, value_name = "FILE", conflicts_with = "no_eval")]
    text: Option<PathBuf>,

    /// Folder of texts to evaluate on, each a kind of text that is reported by itself: NAME.txt, or NAME.jsonl with a chat in
    /// each line, which the model's chat template renders; `builtin` for the suite inside the program
    #[arg(long, value_name = "DIR|builtin", value_parser = Suite::parser(), conflicts_with_all = ["no_eval", "text", "precision"])]
    suite: Option<Suite>,

    /// Tokens in an evaluation window
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    ctx_size: usize,

    /// Evaluate on at most this many windows (of each text of a suite); -1 for all
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "no_eval",
        default_value = "-1",
        allow_negative_numbers = true
    )]
    chunks: Chunks,

    /// Stop evaluating a file once the ratios of its KL divergence to those of the files before and after it are
    /// known to this relative error (0.02: 2 %), instead of running every file over all windows
    #[arg(long, value_name = "ERROR", value_parser = parse_precision, conflicts_with = "no_eval")]
    precision: Option<f64>,

    /// Write the files without evaluating them
    #[arg(long)]
    no_eval: bool,

    /// Name of the pre-tokenizer, instead of finding it by what the tokenizer does
    #[arg(long, value_name = "NAME", value_parser = super::convert::parse_pre_tokenizer)]
    pre_tokenizer: Option<String>,

    /// Allow a source that is quantized already, at a loss of quality
    #[arg(long)]
    allow_requantize: bool,

    /// Make files of a model although it lacks tensors or keys that its architecture needs
    #[arg(long)]
    allow_incomplete: bool,

    #[command(flatten)]
    rounding: RoundingArgs,

    #[command(flatten)]
    shards: ShardArgs,

    #[command(flatten)]
    memory: MemoryArgs,

    /// Threads; 0 for as many as the machine runs at once
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// Lists of presets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PresetList {
    /// The 22 of a published table
    Full,
    /// Every preset and alias
    All,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let place = Place {
        out: args.out.as_deref(),
        dry_run: args.dry_run,
        matrix: None,
    };
    let made = make(&args.making, args.model.as_deref(), &place)?;
    if args.json {
        crate::output::print_json(&serde_json::to_value(&made.report)?)
    } else {
        report::print(&made.report, &made.directory, args.markdown)
    }
}

/// Where a table goes.
pub(crate) struct Place<'a> {
    /// Directory, if not the default one.
    pub(crate) out: Option<&'a Path>,
    /// Whether nothing is written.
    pub(crate) dry_run: bool,
    /// Name of a matrix that is made, if not the default one.
    pub(crate) matrix: Option<&'a str>,
}

/// A table that was made.
pub(crate) struct Made {
    report: Report,
    /// Directory of the files.
    pub(crate) directory: PathBuf,
    /// The files that are other names of files.
    pub(crate) aliases: Vec<PathBuf>,
}

/// Makes the table of a model, of the demo model where none is given.
pub(crate) fn make(args: &Making, model: Option<&Path>, place: &Place<'_>) -> anyhow::Result<Made> {
    let dry_run = place.dry_run;
    let started = Instant::now();
    let log = Log::start();
    crate::log::line(format_args!("quantsmith {}", crate::cli::version()));
    let located = model.map(|named| hub::locate(named, hub::Need::of_run(dry_run)));
    let located = located.transpose()?;
    let demo = model.is_none().then(Demo::unpack).transpose()?;
    let path = match (&located, &demo) {
        (Some(located), _) => located.path().to_path_buf(),
        (None, Some(demo)) => demo.path(),
        (None, None) => bail!("no model"),
    };
    hold(std::iter::once(&path).chain(&args.text).chain(&args.calibration));
    hold(args.suite.as_ref().and_then(Suite::folder));
    hold(args.types_of_tensors.files());
    hold(args.target.inputs());
    let origin = args.matrix_origin();
    hold(origin.file());
    let opened = Opened::open(
        &path,
        dry_run,
        args.pre_tokenizer.as_deref(),
        args.architecture.file(),
        located.as_ref().and_then(hub::Located::origin),
    )?;
    let source = opened.source();
    let evaluate = !args.no_eval && !dry_run;
    if evaluate && !reference::architectures().any(|a| a == source.metadata().architecture()) {
        bail!(
            "{}: the forward pass does not know architecture {:?}, so its quants cannot be evaluated; \
             --no-eval writes the files without",
            path.display(),
            source.metadata().architecture()
        );
    }
    let name = opened.name(&path);
    let entries = match (args.presets.as_ref().or(args.types.as_ref()), args.preset) {
        (Some(list), _) => table::parse_entries(list)?,
        (None, None) if args.chooses() => Vec::new(),
        (None, Some(PresetList::Full) | None) => table::published(),
        (None, Some(PresetList::All)) => table::all(),
    };
    let better = args.prepare_optimization(source, &path)?;
    let directory = place
        .out
        .map_or_else(|| PathBuf::from(format!("{name}-GGUF")), Path::to_path_buf);
    let mut options = TableOptions {
        directory: directory.clone(),
        model: name.clone(),
        quantize: QuantizeOptions::new(Preset::Q8_0)
            .recipe(args.types_of_tensors.recipe(Preset::Q8_0)?)
            .allow_requantize(args.allow_requantize)
            .allow_incomplete(args.allow_incomplete)
            .missing_importance(args.importance.missing())
            .shards(args.shards.gguf_split())
            .record(better.record.clone()),
        entries,
    };
    let calibrate = origin == MatrixOrigin::Made && !dry_run;
    let learns = args.optimize.learns() || args.runs_for_types();
    let with_base = evaluate || calibrate || learns && !dry_run;
    // What could fail after hours is tried before them.
    let texts = Texts::read(source, args, evaluate, calibrate)?;
    let matrix = match place.matrix {
        Some(name) => options.directory.join(name),
        None => options.directory.join(format!("{name}-imatrix.gguf")),
    };
    let given = match &origin {
        MatrixOrigin::File(file) => args.importance.load(file)?,
        MatrixOrigin::Made => {
            let text = calibration_name(args);
            Some(args.importance.expect(source.tensors(), &matrix, &text))
        }
        MatrixOrigin::None => None,
    };
    let wanted = chosen::wanted(args, source, &options, given.as_ref())?;
    let journal = args.memory.journal(&options.directory.join(&name));
    let record_file = directory.join(record::FILE);
    let mut earlier = None;
    if !dry_run {
        std::fs::create_dir_all(&options.directory)
            .with_context(|| options.directory.display().to_string())?;
        gguf::check_not_input(&record_file)?;
        gguf::check_not_input(&directory.join(record::LOG))?;
        if args.memory.resume() {
            earlier = record::Table::load_if_there(&record_file)?;
        }
        check_outputs(
            source,
            &options,
            &wanted,
            calibrate.then_some(matrix.as_path()),
            with_base,
            journal.is_some(),
        )?;
    }
    let base = with_base
        .then(|| Base::open(source, &options.directory, args))
        .transpose()?;
    let (importance, imatrix) = match &base {
        Some(base) if calibrate => {
            let file = matrix;
            // An interrupted run has got that far already.
            let begun = journal.as_deref().is_some_and(Path::exists) && file.exists();
            let known = earlier.as_ref().and_then(|e| e.importance.as_ref());
            if begun || known.is_some_and(|known| keeper::made_before(known, &file, &texts, args)) {
                eprintln!("continuing with {}", file.display());
            } else {
                base.calibrate(&file, &texts, args)?;
            }
            (args.importance.load(&file)?, Some(file))
        }
        _ => (given, origin.file().map(Path::to_path_buf)),
    };
    let chosen = chosen::Run {
        args,
        source,
        options: &options,
        importance: importance.as_ref(),
        base: base.as_ref(),
        earlier: earlier.as_ref(),
        dry_run,
    };
    let chosen = chosen.choose(&wanted)?;
    options.entries.extend(chosen.entries.iter().cloned());
    let mut planned = table::plan(source, &options, importance.as_ref())?;
    chosen.check(&planned, &wanted)?;
    let mut kept = None;
    if !dry_run {
        let origin = keeper::Origin {
            path: &path,
            demo: demo.is_some(),
            matrix: imatrix.as_deref(),
            made: calibrate,
            chosen: &chosen,
        };
        let fresh = keeper::record_of(source, &name, &options, &planned, &origin, &texts, args)?;
        let mut keeper = Keeper::new(record_file, fresh, started);
        if keeper.take_up(earlier, source, &origin, &planned)? {
            table::link(&planned)?;
            eprintln!("all files are there already, and nothing is encoded");
        } else {
            if args.optimize.given() {
                optimize(&better, base.as_ref(), source, &mut planned, args)?;
            }
            write_files(source, &planned, args, journal.as_deref())?;
            keeper.digest_files(source, &origin, &planned)?;
        }
        for plan in planned.iter().filter_map(|row| row.plan.as_ref().ok()) {
            better.forget(plan)?;
        }
        let mut published = table::files(&planned);
        // A matrix that was made here is published beside the files.
        published.extend(
            imatrix
                .iter()
                .filter(|f| f.parent() == Some(options.directory.as_path()))
                .cloned(),
        );
        digest::write_manifest_knowing(&options.directory, &published, &keeper.known_digests(&planned))?;
        keeper.save(State::Written)?;
        log.write_to(&directory.join(record::LOG), args.memory.resume())?;
        keeper.log_files();
        crate::interrupt::can_be_continued(
            "the files are whole; the same command with --resume goes on evaluating them".to_owned(),
        );
        if let Some(base) = base.filter(|_| evaluate) {
            base.measure(source, &planned, &mut keeper, &texts, args)?;
        }
        keeper.save(State::Finished)?;
        chosen::forget(&options.directory);
        kept = Some(keeper);
    }
    let mut report = Report::new(
        name,
        if demo.is_some() {
            "the demo model".into()
        } else {
            path
        },
        imatrix,
        &planned,
        kept.as_ref().map(Keeper::table),
        texts.evaluation_name(),
    );
    report.chosen = chosen.reports;
    let aliases = planned
        .iter()
        .filter(|row| row.check().is_ok() && row.same_as.is_some());
    let aliases = aliases.flat_map(|row| &row.plan).flat_map(|plan| &plan.outputs);
    Ok(Made {
        aliases: aliases.map(|output| output.path.clone()).collect(),
        report,
        directory,
    })
}

/// Checks the files that will be written, before the model is run.
fn check_outputs(
    source: &dyn Source,
    options: &TableOptions,
    wanted: &[Wanted],
    matrix: Option<&Path>,
    with_base: bool,
    continued: bool,
) -> anyhow::Result<()> {
    digest::check_manifest(&options.directory)?;
    if let Some(matrix) = matrix {
        gguf::check_target(matrix, 0)?;
    }
    // What a continued run has written is there already.
    let mut needed = if continued {
        0
    } else {
        beside_the_files(source, with_base, matrix.is_some())?
    };
    // Names and sizes do not depend on importance, which there may be none of yet.
    for row in table::plan(source, options, None)? {
        for output in row.plan.iter().flat_map(|plan| &plan.outputs) {
            if continued {
                gguf::check_not_input(&output.path)?;
            } else {
                gguf::check_target(&output.path, 0)?;
                needed = needed.saturating_add(output.file_size());
            }
        }
    }
    for Wanted { path, bytes, .. } in wanted {
        gguf::check_not_input(path)?;
        if !continued {
            gguf::check_target(path, 0)?;
            needed = needed.saturating_add(*bytes);
        }
    }
    // All files of the run are there together, so that room for each of them is not enough.
    gguf::check_space(&options.directory.join("all files of the table"), needed)?;
    Ok(())
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

/// The model, whichever form it came in.
pub(crate) enum Opened {
    Directory(Box<HfSource>),
    File(Box<GgufSource>),
}

impl Opened {
    /// Opens it; where headers suffice, the weights may be missing.
    pub(crate) fn open(
        path: &Path,
        headers_suffice: bool,
        pre_tokenizer: Option<&str>,
        arch_file: Option<PathBuf>,
        origin: Option<&convert::hub::Origin>,
    ) -> anyhow::Result<Self> {
        if !path.is_dir() {
            convert::kind::expect_model(path)?;
            let source = if headers_suffice {
                GgufSource::open_headers(path)?
            } else {
                GgufSource::open(path)?
            };
            return Ok(Self::File(Box::new(source)));
        }
        let source = HfSource::open(
            path,
            &HfOptions::default()
                .outtype(OutType::Lossless)
                .pre_tokenizer(pre_tokenizer.map(str::to_owned))
                .headers_suffice(headers_suffice)
                .arch_file(arch_file)
                .origin(origin.cloned()),
        )?;
        for warning in source.warnings() {
            eprintln!("warning: {warning}");
        }
        Ok(Self::Directory(Box::new(source)))
    }

    /// Its tensors.
    pub(crate) fn source(&self) -> &dyn Source {
        match self {
            Self::Directory(source) => source.as_ref(),
            Self::File(source) => source.as_ref(),
        }
    }

    /// The model's name in file names: the directory's, or the file's without its type.
    pub(crate) fn name(&self, path: &Path) -> String {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let part = match self {
            // The hub's cache has a commit where other directories have a name.
            Self::Directory(_) => match convert::hub::repository(path) {
                Some(name) => return name,
                None => canonical.file_name(),
            },
            Self::File(_) => canonical.file_stem(),
        };
        let name = part.map_or_else(|| "model".into(), |p| p.to_string_lossy().into_owned());
        let typed = |end: &str| gguf::TensorType::from_name(end).is_some() || Entry::parse(end).is_some();
        match name.rsplit_once(['-', '.']) {
            Some((start, end)) if matches!(self, Self::File(_)) && typed(end) => start.to_owned(),
            _ => name,
        }
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=64).contains(count))
        .ok_or_else(|| "expected a number of files from 1 to 64".to_owned())
}

fn parse_precision(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|error| (0.0..1.0).contains(error) && *error > 0.0)
        .ok_or_else(|| "expected a number between 0 and 1".to_owned())
}

impl Making {
    /// The importance matrix, where a file is named.
    pub(crate) fn matrix_file(&self) -> Option<&Path> {
        self.imatrix.as_ref().and_then(MatrixOrigin::file)
    }

    /// Origin of the importance matrix: by default one is made when the files are evaluated.
    fn matrix_origin(&self) -> MatrixOrigin {
        match (&self.imatrix, self.no_eval) {
            (Some(origin), _) => origin.clone(),
            (None, false) => MatrixOrigin::Made,
            (None, true) => MatrixOrigin::None,
        }
    }

    /// Preparation for --optimize; the text to learn from is that of the importance matrix where none is named.
    fn prepare_optimization(&self, source: &dyn Source, path: &Path) -> anyhow::Result<Prepared> {
        let text = match &self.calibration {
            Some(file) if self.optimize.learns() => {
                Some(std::fs::read_to_string(file).with_context(|| file.display().to_string())?)
            }
            _ => None,
        };
        let text = text.as_deref().unwrap_or(CALIBRATION_TEXT);
        self.optimize
            .prepare(source.metadata(), path, Some(text), self.memory.resume())
    }
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
            _ => {
                let none = || bail!("no model to learn from");
                better.apply(source, plan, none, args.threads, args.memory.bytes())?;
            }
        }
    }
    Ok(())
}

fn pipeline_options(args: &Making) -> PipelineOptions {
    PipelineOptions::default()
        .threads(args.threads)
        .max_memory(args.memory.bytes())
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
    let options = pipeline_options(args);
    Ok(metered(|show| {
        table::execute(source, planned, &options, journal, show)
    })?)
}
