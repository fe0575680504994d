//! `quantsmith table`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use convert::pipeline::PipelineOptions;
use convert::quantize::QuantizeOptions;
use convert::recipe::Preset;
use convert::source::hf::{HfOptions, HfSource, OutType};
use convert::source::{GgufSource, Source};
use convert::table::{self, Line, Row, RowPlan, TableOptions};
use imatrix::Accumulator;
use reference::tokenizer::Tokenizer;
use reference::{Model, PerplexityOptions, divergence};
use serde::Serialize;

use super::quantize::{ImportanceArgs, MemoryArgs, TypeArgs};
use crate::calibrate::{Calibration, collect};
use crate::demo::{CALIBRATION_TEXT, Demo, EVALUATION_TEXT};
use crate::progress::Meter;
use crate::threads::in_pool;

/// Arguments of `quantsmith table`.
#[derive(clap::Args)]
#[command(
    after_help = "--imatrix also takes `auto`, which makes a matrix first (the default when the files are \
                        evaluated), and `none`."
)]
pub(crate) struct Args {
    /// Model directory or GGUF file; the demo model where none is given
    model: Option<PathBuf>,

    /// Presets to make, separated by commas [default: the 22 of a published table]
    #[arg(long, value_name = "LIST", conflicts_with = "preset")]
    types: Option<String>,

    /// Which presets to make
    #[arg(long, value_enum, default_value_t = PresetList::Full)]
    preset: PresetList,

    /// Directory for the files [default: MODEL-GGUF in the current directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    types_of_tensors: TypeArgs,

    // --imatrix also takes `auto` here (make one first; the default when evaluating) and `none`.
    #[command(flatten)]
    importance: ImportanceArgs,

    /// Text to calibrate an importance matrix on, with --imatrix auto [default: a bundled English text in the
    /// public domain, disjoint from the evaluation text]
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// Text to evaluate on [default: a bundled English text in the public domain]
    #[arg(long, value_name = "FILE", conflicts_with = "no_eval")]
    text: Option<PathBuf>,

    /// Tokens in an evaluation window
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    ctx_size: usize,

    /// Evaluate on at most this many windows
    #[arg(long, value_name = "N", conflicts_with = "no_eval")]
    chunks: Option<usize>,

    /// Write the files without evaluating them
    #[arg(long)]
    no_eval: bool,

    /// Show the table with exact sizes, and write nothing; headers of the model's files suffice
    #[arg(long)]
    dry_run: bool,

    /// Name of the pre-tokenizer, instead of finding it by what the tokenizer does
    #[arg(long, value_name = "NAME")]
    pre_tokenizer: Option<String>,

    /// Allow a source that is quantized already, at a loss of quality
    #[arg(long)]
    allow_requantize: bool,

    #[command(flatten)]
    memory: MemoryArgs,

    /// Threads; 0 for as many as the machine runs at once
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    threads: usize,

    /// Print the table as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,

    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// Lists of presets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PresetList {
    /// The 22 of a published table
    Full,
    /// Every preset and alias
    All,
}

/// What the evaluation of one file found.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    ppl: f64,
    ppl_error: f64,
    /// Perplexity over that of the unquantized model.
    ppl_ratio: f64,
    ppl_ratio_error: f64,
    kld: f64,
    kld_error: f64,
    kld_99_9: f64,
    same_top: f64,
}

/// A line of the report.
#[derive(Clone, Debug, Serialize)]
struct ReportRow {
    #[serde(flatten)]
    row: Row,
    #[serde(flatten)]
    measured: Option<Measured>,
}

/// What was evaluated, and the unquantized model's own result.
#[derive(Clone, Debug, Serialize)]
struct Evaluation {
    text: String,
    context: usize,
    chunks: usize,
    scored_tokens: usize,
    base_type: String,
    base_ppl: f64,
    base_ppl_error: f64,
}

#[derive(Serialize)]
struct Report {
    model: String,
    source: PathBuf,
    imatrix: Option<PathBuf>,
    dry_run: bool,
    evaluation: Option<Evaluation>,
    rows: Vec<ReportRow>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let demo = args.model.is_none().then(Demo::unpack).transpose()?;
    let path = match (&args.model, &demo) {
        (Some(path), _) => path.clone(),
        (None, Some(demo)) => demo.path(),
        (None, None) => bail!("no model"),
    };
    let opened = Opened::open(&path, &args)?;
    let source = opened.source();
    let evaluate = !args.no_eval && !args.dry_run;
    if evaluate && !reference::architectures().any(|a| a == source.metadata().architecture()) {
        bail!(
            "{}: the forward pass does not know architecture {:?}, so its quants cannot be evaluated; \
             --no-eval writes the files without",
            path.display(),
            source.metadata().architecture()
        );
    }
    let name = opened.name(&path);
    let lines = match (&args.types, args.preset) {
        (Some(list), _) => table::parse_lines(list)?,
        (None, PresetList::Full) => table::published(),
        (None, PresetList::All) => table::all(),
    };
    let options = TableOptions {
        directory: args
            .out
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("{name}-GGUF"))),
        model: name.clone(),
        quantize: QuantizeOptions {
            recipe: args.types_of_tensors.recipe(Preset::Q8_0)?,
            allow_requantize: args.allow_requantize,
            ..QuantizeOptions::new(Preset::Q8_0)
        },
        lines,
    };
    let with_base = evaluate || wants_calibration(&args, evaluate);
    if !args.dry_run {
        std::fs::create_dir_all(&options.directory)
            .with_context(|| options.directory.display().to_string())?;
    }
    let base = with_base
        .then(|| Base::open(source, &options.directory, &args))
        .transpose()?;
    let (importance, imatrix) = match &base {
        Some(base) if wants_calibration(&args, evaluate) => {
            let file = options.directory.join(format!("{name}-imatrix.gguf"));
            base.calibrate(&file, &args)?;
            (args.importance.load_from(&file)?, Some(file))
        }
        _ if args.importance.path() == Some(Path::new(NONE)) => (None, None),
        _ => (
            args.importance.load()?,
            args.importance.path().map(Path::to_path_buf),
        ),
    };
    let planned = table::plan(source, &options, importance.as_ref())?;
    let mut rows: Vec<ReportRow> = table::rows(&planned)
        .into_iter()
        .map(|row| ReportRow { row, measured: None })
        .collect();
    let mut evaluation = None;
    if !args.dry_run {
        write_files(source, &planned, &args)?;
        if let Some(base) = base.filter(|_| evaluate) {
            let (of_rows, of_base) = base.measure(source, &planned, &args)?;
            for (row, measured) in rows.iter_mut().zip(of_rows) {
                row.measured = measured;
            }
            evaluation = of_base;
        }
    }
    let report = Report {
        model: name,
        source: if demo.is_some() {
            "the demo model".into()
        } else {
            path
        },
        imatrix,
        dry_run: args.dry_run,
        evaluation,
        rows,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_table(&report, &options.directory, args.markdown);
    }
    Ok(())
}

/// The model, whichever form it came in.
enum Opened {
    Directory(Box<HfSource>),
    File(Box<GgufSource>),
}

impl Opened {
    fn open(path: &Path, args: &Args) -> anyhow::Result<Self> {
        if !path.is_dir() {
            let source = if args.dry_run {
                GgufSource::open_headers(path)?
            } else {
                GgufSource::open(path)?
            };
            return Ok(Self::File(Box::new(source)));
        }
        let source = HfSource::open(
            path,
            &HfOptions {
                outtype: OutType::Lossless,
                pre_tokenizer: args.pre_tokenizer.clone(),
                headers_suffice: args.dry_run,
                ..HfOptions::default()
            },
        )?;
        for warning in source.warnings() {
            eprintln!("warning: {warning}");
        }
        Ok(Self::Directory(Box::new(source)))
    }

    fn source(&self) -> &dyn Source {
        match self {
            Self::Directory(source) => source.as_ref(),
            Self::File(source) => source.as_ref(),
        }
    }

    /// The model's name in file names: the directory's, or the file's without its type.
    fn name(&self, path: &Path) -> String {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let part = match self {
            Self::Directory(_) => canonical.file_name(),
            Self::File(_) => canonical.file_stem(),
        };
        let name = part.map_or_else(|| "model".into(), |p| p.to_string_lossy().into_owned());
        let typed = |end: &str| gguf::TensorType::from_name(end).is_some() || Line::parse(end).is_some();
        match name.rsplit_once(['-', '.']) {
            Some((start, end)) if matches!(self, Self::File(_)) && typed(end) => start.to_owned(),
            _ => name,
        }
    }
}

fn pipeline_options(args: &Args) -> PipelineOptions {
    PipelineOptions {
        threads: args.threads,
        max_memory: args.memory.bytes(),
    }
}

fn write_files(source: &dyn Source, planned: &[RowPlan<'_>], args: &Args) -> anyhow::Result<()> {
    for (row, problem) in planned
        .iter()
        .filter_map(|row| row.check().err().map(|e| (row, e)))
    {
        eprintln!("left out: {}: {problem}", row.line.name);
    }
    if planned.iter().all(|row| row.check().is_err()) {
        bail!("none of the presets can be made of this model");
    }
    let meter = Meter::new();
    let done = table::execute(source, planned, &pipeline_options(args), &|p| meter.show(p));
    meter.finish();
    Ok(done?)
}

/// The value of --imatrix that makes a matrix first.
const AUTO: &str = "auto";
/// The value of --imatrix that goes without one even when evaluating.
const NONE: &str = "none";

/// Whether an importance matrix is to be made: when asked for, and by default when the files are evaluated.
fn wants_calibration(args: &Args, evaluate: bool) -> bool {
    match args.importance.path() {
        None => evaluate,
        Some(path) => path == Path::new(AUTO) && !args.dry_run,
    }
}

/// The unquantized model, ready to run.
struct Base {
    model: Model,
    tokenizer: Tokenizer,
}

impl Base {
    /// Opens the source's own GGUF file, or makes one of a model directory, which is gone after use.
    fn open(source: &dyn Source, directory: &Path, args: &Args) -> anyhow::Result<Self> {
        let model = if source.path().is_dir() {
            let folder = tempfile::tempdir_in(directory).with_context(|| directory.display().to_string())?;
            let file = folder.path().join("base.gguf");
            crate::base::write_source(source, &file, &pipeline_options(args))?;
            // Once mapped, the file needs no name.
            Model::load(&file)?
        } else {
            Model::load(source.path())?
        };
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
        Ok(Self { model, tokenizer })
    }

    /// What replaces the first token of each window.
    fn bos(&self) -> Option<u32> {
        self.tokenizer.bos().filter(|_| self.tokenizer.add_bos())
    }

    /// Makes an importance matrix.
    fn calibrate(&self, file: &Path, args: &Args) -> anyhow::Result<()> {
        let (text, name) = text_or(
            args.calibration.as_deref(),
            CALIBRATION_TEXT,
            "bundled calibration text",
        )?;
        let tokens = self.tokenizer.encode(&text, true, false);
        let calibration = Calibration {
            context: args.ctx_size,
            from_chunk: 0,
            chunks: None,
            bos: self.bos(),
            process_output: false,
        };
        let window = u32::try_from(args.ctx_size).context("-c is too large")?;
        let mut collected = Accumulator::new(window);
        in_pool(args.threads, || {
            collect(
                &self.model,
                &tokens,
                &calibration,
                &mut collected,
                0,
                &mut |step| {
                    for (window, tensor) in &step.set_aside {
                        eprintln!(
                            "warning: window {window} is set aside: the inputs of {tensor} are not finite"
                        );
                    }
                    eprintln!("calibrated on {} of {} windows", step.done, step.of);
                    Ok(())
                },
            )
        })??;
        let mut matrix = collected.totals().clone();
        matrix.datasets = vec![name];
        Ok(matrix.save(file)?)
    }

    /// Runs this model and every file side by side over the evaluation text.
    fn measure(&self, source: &dyn Source, planned: &[RowPlan<'_>], args: &Args) -> anyhow::Result<Results> {
        let made = |row: &RowPlan<'_>| row.check().is_ok() && row.same_as.is_none();
        let distinct: Vec<usize> = (0..planned.len()).filter(|&i| made(&planned[i])).collect();
        let models = distinct
            .iter()
            .map(|&i| Ok(Model::load(&planned[i].path)?))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (text, name) = text_or(args.text.as_deref(), EVALUATION_TEXT, "bundled text")?;
        let tokens = self.tokenizer.encode(&text, true, false);
        let options = PerplexityOptions {
            context: args.ctx_size,
            chunks: args.chunks,
            bos: self.bos(),
            max_memory: args.memory.bytes(),
        };
        let seen = in_pool(args.threads, || {
            divergence::compare(&self.model, &models, &tokens, &options, &mut |p| {
                eprintln!("evaluated {} of {} windows", p.windows, p.of);
            })
        })??;
        let statistics: Vec<divergence::Statistics> = seen
            .iter()
            .filter_map(|o| divergence::Statistics::of(o))
            .collect();
        let evaluation = statistics.first().map(|s| Evaluation {
            text: name,
            context: args.ctx_size,
            chunks: s.count / (args.ctx_size - args.ctx_size / 2 - 1).max(1),
            scored_tokens: s.count,
            base_type: base_type(source),
            base_ppl: s.ppl_base.value,
            base_ppl_error: s.ppl_base.error,
        });
        let of_row = |i: usize| {
            let original = planned[i].same_as.unwrap_or(i);
            distinct
                .iter()
                .position(|&d| d == original)
                .map(|at| Measured::from(&statistics[at]))
        };
        Ok(((0..planned.len()).map(of_row).collect(), evaluation))
    }
}

/// The rows' results, in order, and the unquantized model's.
type Results = (Vec<Option<Measured>>, Option<Evaluation>);

/// A file's text with its path, or else a bundled one with its name.
fn text_or(file: Option<&Path>, bundled: &str, name: &str) -> anyhow::Result<(String, String)> {
    match file {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Ok((text, path.display().to_string()))
        }
        None => Ok((bundled.to_owned(), name.to_owned())),
    }
}

impl From<&divergence::Statistics> for Measured {
    fn from(s: &divergence::Statistics) -> Self {
        Self {
            ppl: s.ppl.value,
            ppl_error: s.ppl.error,
            ppl_ratio: s.ppl_ratio.value,
            ppl_ratio_error: s.ppl_ratio.error,
            kld: s.kld.value,
            kld_error: s.kld.error,
            kld_99_9: s.kld_quantiles.at(0.999),
            same_top: s.same_top.value,
        }
    }
}

/// The type that holds most of the source's weights.
fn base_type(source: &dyn Source) -> String {
    let mut weights = std::collections::BTreeMap::<&str, u64>::new();
    for t in source.tensors() {
        *weights.entry(t.ty.name()).or_default() += t.shape.iter().product::<u64>();
    }
    weights
        .into_iter()
        .max_by_key(|(_, n)| *n)
        .map_or_else(String::new, |(name, _)| name.to_owned())
}

fn size(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib >= 0.1 {
        format!("{gib:.2} GiB")
    } else {
        format!("{:.2} MiB", gib * 1024.0)
    }
}

/// Substitutions in a few words: how many tensors, and their share of the weights.
fn substitutions(row: &Row) -> String {
    if row.substituted.is_empty() {
        return String::new();
    }
    let touched: u64 = row.substituted.iter().map(|c| c.weights).sum();
    let share = touched as f64 * 100.0 / row.weights.unwrap_or(touched).max(1) as f64;
    let mut kinds: Vec<String> = row
        .substituted
        .iter()
        .map(|c| format!("{}→{}", c.wanted, c.got))
        .collect();
    kinds.sort();
    kinds.dedup();
    format!(
        "{} tensors, {share:.1} % of weights substituted ({})",
        row.substituted.len(),
        kinds.join(", ")
    )
}

fn note(row: &Row) -> String {
    let mut parts = Vec::new();
    if let Some(error) = &row.error {
        parts.push(match row.needs_importance.len() {
            0 => format!("not made: {error}"),
            n => format!("not made: {n} tensors need an importance matrix (--imatrix)"),
        });
    }
    if let Some(same) = row.same_as {
        parts.push(format!("same file as {same}"));
    }
    parts.push(substitutions(row));
    parts.retain(|p| !p.is_empty());
    parts.join("; ")
}

fn print_table(report: &Report, directory: &Path, markdown: bool) {
    let evaluated = report.evaluation.is_some();
    let mut head = vec!["Preset", "File", "Size", "bpw"];
    if evaluated {
        head.extend(["PPL", "±", "PPL ratio", "mean KLD", "99.9 % KLD", "same top"]);
    }
    head.push("Notes");
    let mut cells: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    for line in &report.rows {
        let row = &line.row;
        let name = row
            .file
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let mut out = vec![
            row.preset.to_owned(),
            name,
            row.size_bytes.map_or_else(|| "-".into(), size),
            row.bits_per_weight
                .map_or_else(|| "-".into(), |b| format!("{b:.2}")),
        ];
        if evaluated {
            match &line.measured {
                Some(m) => out.extend([
                    format!("{:.4}", m.ppl),
                    format!("{:.4}", m.ppl_error),
                    format!("{:.4}", m.ppl_ratio),
                    format!("{:.5}", m.kld),
                    format!("{:.4}", m.kld_99_9),
                    format!("{:.1} %", m.same_top * 100.0),
                ]),
                None => out.extend(std::iter::repeat_n("-".to_owned(), 6)),
            }
        }
        out.push(note(row));
        cells.push(out);
    }
    println!(
        "{} from {} in {}",
        report.model,
        report.source.display(),
        directory.display()
    );
    if let Some(file) = &report.imatrix {
        println!("importance from {}", file.display());
    }
    if let Some(e) = &report.evaluation {
        println!(
            "evaluated on {} ({} windows of {} tokens); unquantized ({}): PPL {:.4} ± {:.4}",
            e.text, e.chunks, e.context, e.base_type, e.base_ppl, e.base_ppl_error
        );
    }
    println!();
    let columns = cells[0].len();
    let width: Vec<usize> = (0..columns)
        .map(|c| cells.iter().map(|row| row[c].chars().count()).max().unwrap_or(0))
        .collect();
    for (i, row) in cells.iter().enumerate() {
        // The first two columns and the notes read from the left, figures from the right.
        let padded: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(c, cell)| match c {
                _ if c < 2 || c + 1 == columns => format!("{cell:<0$}", width[c]),
                _ => format!("{cell:>0$}", width[c]),
            })
            .collect();
        if markdown {
            println!("| {} |", padded.join(" | "));
            if i == 0 {
                let rule = |c: usize| if c < 2 || c + 1 == columns { "---" } else { "---:" };
                println!("|{}|", (0..columns).map(rule).collect::<Vec<_>>().join("|"));
            }
        } else {
            println!("{}", padded.join("  ").trim_end());
        }
    }
}
