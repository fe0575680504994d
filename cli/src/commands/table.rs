//! `quantsmith table`.

mod chosen;
mod digests;
mod evaluate;
mod figures;
mod job;
mod keeper;
mod kinds;
mod opened;
pub(crate) mod parts;
pub(crate) mod planned;
mod report;
mod suite;
mod texts;
mod weights;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use convert::pipeline::PipelineOptions;
use convert::source::Source;
use convert::table::{self, Entry};
use demo::CALIBRATION_TEXT;

use self::job::{Begun, Job, Named};
use self::keeper::Keeper;
pub(crate) use self::opened::Opened;
use self::report::Report;
use self::suite::Suite;
pub(crate) use self::suite::{text_files, texts_of};
use crate::args::architecture::ArchitectureArgs;
use crate::args::chunks::Chunks;
use crate::args::evaluation;
use crate::args::importance::{self, ImportanceUse, MatrixOrigin};
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

    /// The list `published` or `all` of --presets, under older names [default: full, and none where files are asked for by their size]
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
    #[arg(help_heading = importance::HEADING, long, value_name = "FILE|auto|none", value_parser = MatrixOrigin::parser())]
    imatrix: Option<MatrixOrigin>,

    #[command(flatten)]
    importance: ImportanceUse,

    #[command(flatten)]
    optimize: OptimizeArgs,

    /// Text to calibrate an importance matrix on, with --imatrix auto [default: a bundled English text in the
    /// public domain, disjoint from the evaluation text]
    #[arg(help_heading = importance::HEADING, long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// Tokens in a window of the calibration
    #[arg(help_heading = importance::HEADING, long, value_name = "N", default_value_t = 512)]
    calibration_ctx: usize,

    /// Calibrate on at most this many windows; -1 for all
    #[arg(help_heading = importance::HEADING, long, value_name = "N", default_value = "-1", allow_negative_numbers = true)]
    calibration_chunks: Chunks,

    /// Text to evaluate on [default: a bundled English text in the public domain]
    #[arg(help_heading = evaluation::HEADING, long, value_name = "FILE", conflicts_with = "no_eval")]
    text: Option<PathBuf>,

    /// Folder of texts to evaluate on, each a kind of text that is reported by itself: NAME.txt, or NAME.jsonl with a chat in
    /// each line, which the model's chat template renders; `builtin` for the suite inside the program
    #[arg(help_heading = evaluation::HEADING, long, value_name = "DIR|builtin", value_parser = Suite::parser(), conflicts_with_all = ["no_eval", "text", "precision"])]
    suite: Option<Suite>,

    /// Tokens in an evaluation window
    #[arg(help_heading = evaluation::HEADING, short, long, value_name = "N", default_value_t = 512)]
    ctx_size: usize,

    /// Evaluate on at most this many windows (of each text of a suite); -1 for all
    #[arg(
        help_heading = evaluation::HEADING,
        long,
        value_name = "N",
        conflicts_with = "no_eval",
        default_value = "-1",
        allow_negative_numbers = true
    )]
    chunks: Chunks,

    /// Stop evaluating a file once the ratios of its KL divergence to those of the files before and after it are
    /// known to this relative error (0.02: 2 %), instead of running every file over all windows
    #[arg(help_heading = evaluation::HEADING, long, value_name = "ERROR", value_parser = parse_precision, conflicts_with = "no_eval")]
    precision: Option<f64>,

    /// Write the files without evaluating them
    #[arg(help_heading = evaluation::HEADING, long)]
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
    let started = Instant::now();
    let log = Log::start();
    crate::log::line(format_args!("quantsmith {}", crate::version::version()));
    let located = model.map(|named| hub::locate(named, hub::Need::of_run(place.dry_run)));
    let located = located.transpose()?;
    let demo = model.is_none().then(Demo::unpack).transpose()?;
    let path = match (&located, &demo) {
        (Some(located), _) => located.path().to_path_buf(),
        (None, Some(demo)) => demo.path(),
        (None, None) => bail!("no model"),
    };
    args.hold(located.is_some().then_some(path.as_path()));
    let opened = Opened::open(
        &path,
        place.dry_run,
        args.pre_tokenizer.as_deref(),
        args.architecture.file(),
        located.as_ref().and_then(hub::Located::origin),
    )?;
    let model = Named {
        source: opened.source(),
        name: opened.name(&path),
        path,
        demo: demo.is_some(),
    };
    // What could fail after hours is tried before them.
    let mut job = Job::new(args, model, place)?;
    let earlier = job.check()?;
    let base = job.open_base()?;
    let matrix = job.importance(base.as_ref(), earlier.as_ref())?;
    let mut plan = job.plan(&matrix, base.as_ref(), earlier.as_ref())?;
    let kept = match place.dry_run {
        true => None,
        false => {
            let begun = Begun {
                earlier,
                started,
                log,
            };
            Some(job.carry_out(&mut plan, &matrix, base, begun)?)
        }
    };
    let mut report = Report::new(
        job.model.name.clone(),
        match job.model.demo {
            true => "the demo model".into(),
            false => job.model.path.clone(),
        },
        matrix.file,
        &plan.rows,
        kept.as_ref().map(Keeper::table),
        job.texts.evaluation_name(),
    );
    report.chosen = plan.chosen.reports;
    let aliases = plan
        .rows
        .iter()
        .filter(|row| row.check().is_ok() && row.same_as.is_some());
    let aliases = aliases.flat_map(|row| &row.plan).flat_map(|plan| &plan.outputs);
    Ok(Made {
        aliases: aliases.map(|output| output.path.clone()).collect(),
        report,
        directory: job.options.directory,
    })
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
    /// Makes sure that nothing that is read is written over.
    fn hold(&self, model: Option<&Path>) {
        hold(
            model
                .into_iter()
                .chain(self.text.as_deref())
                .chain(self.calibration.as_deref()),
        );
        hold(self.suite.as_ref().and_then(Suite::folder));
        hold(self.types_of_tensors.files());
        hold(self.target.inputs());
        hold(self.matrix_origin().file());
    }

    /// The entries that are named, or those of the list that stands for none.
    fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        Ok(
            match (self.presets.as_ref().or(self.types.as_ref()), self.preset) {
                (Some(list), _) => table::parse_entries(list)?,
                (None, None) if self.chooses() => Vec::new(),
                (None, Some(PresetList::Full) | None) => table::published(),
                (None, Some(PresetList::All)) => table::all(),
            },
        )
    }

    fn pipeline(&self) -> PipelineOptions {
        PipelineOptions::default()
            .threads(self.threads)
            .max_memory(self.memory.bytes())
    }

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
