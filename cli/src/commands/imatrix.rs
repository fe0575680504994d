//! `quantsmith imatrix`.

mod checkpoint;
mod parts;
mod show;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use gguf::check_target;
use imatrix::{Accumulator, ImportanceMatrix};
use reference::Model;
use reference::calibration::{Calibration, collect, is_in_layer};
use reference::tokenizer::Tokenizer;

use self::checkpoint::Run;
use crate::args::architecture::ArchitectureArgs;
use crate::args::chunks::Chunks;
use crate::args::rounding::RoundingArgs;
use crate::context::warn_of_length;
use crate::inputs::hold;
use crate::interrupt::can_be_continued;
use crate::progress::{Meter, Unit};
use crate::threads::in_pool;

/// Arguments of `quantsmith imatrix`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Model directory or GGUF file, and texts to calibrate on; with --join, the files of all parts
    #[arg(value_name = "MODEL TEXT...")]
    operands: Vec<PathBuf>,

    #[command(flatten)]
    architecture: ArchitectureArgs,

    /// The model, as llama-imatrix takes it; the operands are texts then
    #[arg(short = 'm', long = "model", value_name = "FILE")]
    given_model: Option<PathBuf>,

    /// A text, as llama-imatrix takes it (repeatable)
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    given_text: Vec<PathBuf>,

    /// File to write
    #[arg(
        short,
        long,
        visible_alias = "output-file",
        value_name = "FILE",
        default_value = "imatrix.gguf"
    )]
    output: PathBuf,

    /// Format of the file
    #[arg(long, value_enum, default_value_t = Format::Gguf)]
    output_format: Format,

    /// Importance file to begin with; several are merged (repeatable)
    #[arg(long, value_name = "FILE")]
    in_file: Vec<PathBuf>,

    /// Show statistics of the one --in-file, and its coverage
    #[arg(long)]
    show_statistics: bool,

    /// Tokens in a window
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    ctx_size: usize,

    /// Run at most this many windows; -1 for all
    #[arg(long, value_name = "N", default_value = "-1", allow_negative_numbers = true)]
    chunks: Chunks,

    /// Leave out this many windows at the beginning
    #[arg(long, visible_alias = "chunk", value_name = "N", default_value_t = 0)]
    from_chunk: usize,

    /// Read special tokens in the text as such
    #[arg(long)]
    parse_special: bool,

    /// Collect for output.weight too
    #[arg(long)]
    process_output: bool,

    /// Save a checkpoint (OUTPUT.checkpoint) after this many windows; 0 for none. -ofreq is another name, as llama-imatrix has
    /// it
    #[arg(long, visible_alias = "ofreq", value_name = "N", default_value_t = 40)]
    output_frequency: usize,

    /// Save a copy of the matrix (OUTPUT.at_WINDOWS) after this many windows; 0 for none
    #[arg(long, value_name = "N", default_value_t = 0)]
    save_frequency: usize,

    /// Accepted for scripts that call llama-imatrix: no perplexity is computed here
    #[arg(long)]
    no_ppl: bool,

    /// Go on from the checkpoint of an interrupted run of the same model, texts and options
    #[arg(long, conflicts_with = "in_file")]
    resume: bool,

    /// Run only part I, counted from 1, of N, and write OUTPUT.part-I-of-N for --join; `auto` for the part that a
    /// scheduler's variables name, as `quantsmith run` reads them
    #[arg(long, value_name = "I/N|auto", value_parser = parts::parse,
        conflicts_with_all = ["in_file", "resume", "output_frequency", "output_format"])]
    part: Option<parts::Which>,

    /// Join the files of all parts: the result is that of one run
    #[arg(long, conflicts_with_all = ["in_file", "resume", "part", "show_statistics", "ctx_size", "chunks", "from_chunk",
        "parse_special", "process_output", "output_frequency"])]
    join: bool,

    #[command(flatten)]
    rounding: RoundingArgs,

    /// Threads; 0 for as many as the machine runs at once
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    threads: usize,

    /// Print statistics as JSON
    #[arg(long, requires = "show_statistics")]
    json: bool,
}

/// The formats of an importance file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Sums and counts, each in a tensor
    Gguf,
    /// The older format, one count for each tensor
    Dat,
}

/// Runs the command.
pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    let given = args.given_model.take();
    if given.is_none() && args.operands.is_empty() && !args.given_text.is_empty() {
        bail!("the model is missing: expected `quantsmith imatrix MODEL TEXT...`, or -m MODEL -f TEXT");
    }
    args.operands.splice(0..0, given);
    args.operands.append(&mut args.given_text);
    // The operands of --join are files of parts.
    let located = args
        .operands
        .first()
        .filter(|_| !args.join)
        .map(|model| crate::hub::locate(model, crate::hub::Need::Whole));
    let located = located.transpose()?;
    if let (Some(located), Some(model)) = (&located, args.operands.first_mut()) {
        *model = located.path().to_path_buf();
    }
    let window = u32::try_from(args.ctx_size).context("-c is too large")?;
    hold(args.operands.iter().chain(&args.in_file));
    if args.show_statistics {
        let [file] = args.in_file.as_slice() else {
            bail!("--show-statistics takes exactly one --in-file");
        };
        return show::show(&ImportanceMatrix::load(file)?.to_gguf_form(window), args.json);
    }
    if let Some(which) = &args.part {
        let [model, texts @ ..] = args.operands.as_slice() else {
            bail!("a model and a text are needed");
        };
        let part = which.part()?;
        return in_pool(args.threads, || parts::run(model, texts, part, &args))?;
    }
    if args.join {
        return finish(imatrix::part::join(&args.operands)?, &args);
    }
    let mut collected = match args.in_file.split_first() {
        None => None,
        Some((first, rest)) => {
            let mut merged = ImportanceMatrix::load(first)?.to_gguf_form(window);
            for file in rest {
                let other = ImportanceMatrix::load(file)?.to_gguf_form(window);
                merged.merge(&other).with_context(|| file.display().to_string())?;
            }
            Some(merged)
        }
    };
    match args.operands.split_first() {
        None if collected.is_none() => bail!("a model and a text are needed, or files to merge (--in-file)"),
        None => {}
        Some((_, [])) => bail!(
            "a text to calibrate on is missing: `quantsmith imatrix MODEL TEXT...`, or -f TEXT; `quantsmith table MODEL` \
             calibrates on a bundled one"
        ),
        Some((model, texts)) => {
            let begin = collected.take();
            collected = Some(in_pool(args.threads, || calibrate(model, texts, begin, &args))??);
        }
    }
    let Some(matrix) = collected else {
        bail!("nothing was collected")
    };
    finish(matrix, &args)
}

/// Writes the result.
fn finish(mut matrix: ImportanceMatrix, args: &Args) -> anyhow::Result<()> {
    warn_of_gaps(&matrix);
    if args.output_format == Format::Dat {
        matrix = matrix.to_legacy_form();
    }
    matrix.save(&args.output)?;
    // The checkpoint has done its work; that it is not there is what we want.
    let _ = std::fs::remove_file(checkpoint::path_of(&args.output));
    eprintln!(
        "{}: {} tensors, {} windows",
        args.output.display(),
        matrix.entries.len(),
        matrix.chunk_count
    );
    Ok(())
}

/// The texts as a matrix records them.
fn dataset_names(texts: &[PathBuf]) -> Vec<String> {
    texts.iter().map(|p| p.display().to_string()).collect()
}

/// Reads the texts, each of which has to be UTF-8.
fn read_texts(paths: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, String)>> {
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Ok((path.clone(), text))
        })
        .collect()
}

/// Bytes of the files that a calibration writes: two numbers in 32 bits for each column of a matrix, once for the
/// result and once for a checkpoint.
fn needed_bytes(model: &Model) -> u64 {
    let matrices = model.gguf().tensors().filter(|t| t.info.shape.len() >= 2);
    let columns = matrices.map(|t| t.info.shape[0].saturating_mul(t.info.shape.get(2).copied().unwrap_or(1)));
    columns.fold(0, u64::saturating_add).saturating_mul(2 * 4)
}

/// Opens the model; of a directory, a file is made, which is gone after use.
fn open_model(path: &Path, args: &Args) -> anyhow::Result<Model> {
    let model = if path.is_dir() {
        let folder = convert::scratch::Scratch::new(
            args.output
                .parent()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
        )?;
        let file = folder.path().join("model.gguf");
        crate::base::write(path, &file, args.architecture.file())?;
        // Open by now: the name may go.
        Model::load(&file)?
    } else {
        convert::kind::expect_model(path)?;
        Model::load(path)?
    };
    Ok(model.with_rounding(args.rounding.calibrating()))
}

fn calibrate(
    model: &Path,
    paths: &[PathBuf],
    begin: Option<ImportanceMatrix>,
    args: &Args,
) -> anyhow::Result<ImportanceMatrix> {
    let checkpoint = checkpoint::path_of(&args.output);
    // What could fail after hours is tried before them.
    let texts = read_texts(paths)?;
    check_target(&args.output, 0)?;
    let model = open_model(model, args)?;
    check_target(&args.output, needed_bytes(&model))?;
    check_target(&checkpoint, 0)?;
    warn_of_length(model.gguf().metadata(), args.ctx_size);
    let wants_checkpoints = args.output_frequency > 0;
    let resumes = args.resume && checkpoint.exists();
    let run = (wants_checkpoints || resumes)
        .then(|| Run::new(model.gguf(), &texts, args))
        .transpose()?;
    let begin = match &run {
        Some(run) if resumes => {
            can_be_continued(continuation(&checkpoint));
            Some(run.load(&checkpoint)?)
        }
        _ => begin,
    };
    let (tokens, calibration) = tokens(&model, &texts, args)?;
    let (mut accumulator, already, datasets) = beginning(begin, args);
    // What is known before the work, so that nobody learns of a gap after hours.
    warn_of_gaps(accumulator.totals());
    if !args.process_output && model.gguf().find("output.weight").is_some() {
        eprintln!("output.weight is not collected; --process-output would");
    }
    if !resumes {
        can_be_continued(match wants_checkpoints {
            true => "there was no checkpoint yet, and nothing stays; the same command begins again".to_owned(),
            false => "nothing stays; with --output-frequency N a checkpoint does every N windows, and --resume goes on from it".to_owned(),
        });
    }
    let meter = Meter::new("calibrate", Unit::Windows);
    meter.show(already as u64, calibration.windows(&tokens)? as u64);
    let (mut saved, mut copied) = (already, already);
    collect(
        &model,
        &tokens,
        &calibration,
        &mut accumulator,
        already,
        &mut |step| {
            for (window, tensor) in &step.set_aside {
                meter.print(&format!(
                    "warning: window {window} is set aside: the inputs of {tensor} are not finite"
                ));
            }
            meter.show(step.done as u64, step.of as u64);
            if args.save_frequency > 0 && step.done / args.save_frequency > copied / args.save_frequency {
                let mut totals = step.collected.totals().clone();
                totals.datasets = dataset_names(paths);
                save_copy(totals, step.done, args)?;
                copied = step.done;
            }
            if args.output_frequency > 0 && step.done - saved >= args.output_frequency && step.done < step.of
            {
                let mut totals = step.collected.totals().clone();
                totals.datasets = dataset_names(paths);
                if let Some(run) = &run {
                    run.save(&totals, &checkpoint)?;
                    can_be_continued(continuation(&checkpoint));
                }
                saved = step.done;
            }
            anyhow::Ok(())
        },
    )?;
    meter.finish();
    let mut matrix = accumulator.totals().clone();
    warn_of_missing(&model, &matrix);
    matrix.datasets = datasets;
    matrix.datasets.extend(dataset_names(paths));
    Ok(matrix)
}

/// The sums that collecting begins with, the windows that they have of this text, and the texts of all others.
fn beginning(begin: Option<ImportanceMatrix>, args: &Args) -> (Accumulator, usize, Vec<String>) {
    let Some(matrix) = begin else {
        return (Accumulator::new(args.ctx_size as u32), 0, Vec::new());
    };
    // A checkpoint counts its own windows; files that were merged in are another text's.
    let (already, datasets) = match args.resume {
        true => (matrix.chunk_count as usize, Vec::new()),
        false => (0, matrix.datasets.clone()),
    };
    (Accumulator::resume(matrix), already, datasets)
}

/// The tokens of the texts, and what is collected of them.
fn tokens(
    model: &Model,
    texts: &[(PathBuf, String)],
    args: &Args,
) -> anyhow::Result<(Vec<u32>, Calibration)> {
    let text: String = texts.iter().map(|(_, text)| text.as_str()).collect();
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let mut calibration = Calibration::new(args.ctx_size);
    calibration.from_chunk = args.from_chunk;
    calibration.chunks = args.chunks.most();
    calibration.bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
    calibration.process_output = args.process_output;
    Ok((tokenizer.encode(&text, true, args.parse_special), calibration))
}

/// Saves what was collected after so many windows beside the output, as llama-imatrix names it.
fn save_copy(mut matrix: ImportanceMatrix, windows: usize, args: &Args) -> anyhow::Result<()> {
    let mut name = args.output.clone().into_os_string();
    name.push(format!(".at_{windows}"));
    if args.output_format == Format::Dat {
        matrix = matrix.to_legacy_form();
    }
    Ok(matrix.save(Path::new(&name))?)
}

/// Message of an interrupted run.
fn continuation(checkpoint: &Path) -> String {
    format!(
        "the same command with --resume goes on from {}",
        checkpoint.display()
    )
}

/// Says which tensors and experts saw too little.
fn warn_of_gaps(matrix: &ImportanceMatrix) {
    for gap in matrix.gaps() {
        eprintln!("warning: {gap}");
    }
}

/// Says which of the model's matrices have no entry although they belong to a layer.
fn warn_of_missing(model: &Model, matrix: &ImportanceMatrix) {
    for tensor in model.gguf().tensors() {
        let info = tensor.info;
        let is_matrix = info.shape.len() >= 2 && info.shape[1] > 1 && info.name.ends_with(".weight");
        // Biases by position are looked up.
        let is_table = info.name.ends_with("attn_rel_b.weight");
        if is_matrix && !is_table && is_in_layer(&info.name) && !matrix.entries.contains(&info.name) {
            eprintln!("warning: {}: no data", info.name);
        }
    }
}
