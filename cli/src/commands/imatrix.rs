//! `quantsmith imatrix`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use imatrix::{Accumulator, Form, ImportanceMatrix, TensorStatistics, layers};
use reference::Model;
use reference::tokenizer::Tokenizer;
use serde_json::json;

use crate::calibrate::{Calibration, collect};
use crate::output::{print, print_json};

/// Arguments of `quantsmith imatrix`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Model directory or GGUF file, and texts to calibrate on
    #[arg(value_name = "MODEL TEXT...")]
    operands: Vec<PathBuf>,

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

    /// Run at most this many windows
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,

    /// Leave out this many windows at the beginning
    #[arg(long, visible_alias = "chunk", value_name = "N", default_value_t = 0)]
    from_chunk: usize,

    /// Read special tokens in the text as such
    #[arg(long)]
    parse_special: bool,

    /// Collect for output.weight too
    #[arg(long)]
    process_output: bool,

    /// Save a checkpoint (OUTPUT.checkpoint) after this many windows; 0 for none
    #[arg(long, visible_alias = "ofreq", value_name = "N", default_value_t = 40)]
    output_frequency: usize,

    /// Go on from the checkpoint of an interrupted run with the same arguments
    #[arg(long, conflicts_with = "in_file")]
    resume: bool,

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
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let window = u32::try_from(args.ctx_size).context("-c is too large")?;
    if args.show_statistics {
        let [file] = args.in_file.as_slice() else {
            bail!("--show-statistics takes exactly one --in-file");
        };
        return show(&ImportanceMatrix::load(file)?.to_gguf_form(window), args.json);
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
        Some((_, [])) => bail!("a text to calibrate on is missing"),
        Some((model, texts)) => {
            let checkpoint = checkpoint_path(&args.output);
            let begin = if args.resume && checkpoint.exists() {
                Some(ImportanceMatrix::load(&checkpoint)?)
            } else {
                collected.take()
            };
            collected = Some(calibrate(model, texts, begin, &checkpoint, &args)?);
        }
    }
    let Some(mut matrix) = collected else {
        bail!("nothing was collected")
    };
    warn_of_gaps(&matrix);
    if args.output_format == Format::Dat {
        matrix = matrix.to_legacy_form();
    }
    matrix.save(&args.output)?;
    // The checkpoint has done its work; that it is not there is what we want.
    let _ = std::fs::remove_file(checkpoint_path(&args.output));
    eprintln!(
        "{}: {} tensors, {} windows",
        args.output.display(),
        matrix.entries.len(),
        matrix.chunk_count
    );
    Ok(())
}

fn checkpoint_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".checkpoint");
    name.into()
}

fn calibrate(
    model: &Path,
    texts: &[PathBuf],
    begin: Option<ImportanceMatrix>,
    checkpoint: &Path,
    args: &Args,
) -> anyhow::Result<ImportanceMatrix> {
    let model = if model.is_dir() {
        let folder = tempfile::tempdir_in(
            args.output
                .parent()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
        )?;
        let file = folder.path().join("model.gguf");
        crate::base::write(model, &file)?;
        // Mapped by now: the name may go.
        Model::load(&file)?
    } else {
        Model::load(model)?
    };
    let mut text = Vec::new();
    for path in texts {
        text.extend(std::fs::read(path).with_context(|| path.display().to_string())?);
    }
    let text = String::from_utf8(text).context("the text is not UTF-8")?;
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let tokens = tokenizer.encode(&text, true, args.parse_special);
    let calibration = Calibration {
        context: args.ctx_size,
        from_chunk: args.from_chunk,
        chunks: args.chunks,
        bos: tokenizer.bos().filter(|_| tokenizer.add_bos()),
        process_output: args.process_output,
    };
    let (mut accumulator, already, datasets) = match begin {
        None => (Accumulator::new(args.ctx_size as u32), 0, Vec::new()),
        // A checkpoint counts its own windows; files that were merged in are another text's.
        Some(matrix) => {
            let already = if args.resume {
                matrix.chunk_count as usize
            } else {
                0
            };
            let datasets = if args.resume {
                Vec::new()
            } else {
                matrix.datasets.clone()
            };
            (Accumulator::resume(matrix), already, datasets)
        }
    };
    let started = std::time::Instant::now();
    let mut saved = already;
    collect(
        &model,
        &tokens,
        &calibration,
        &mut accumulator,
        already,
        &mut |step| {
            for (window, tensor) in &step.set_aside {
                eprintln!("warning: window {window} is set aside: the inputs of {tensor} are not finite");
            }
            let rate = ((step.done - already) * args.ctx_size) as f64 / started.elapsed().as_secs_f64();
            let left = ((step.of - step.done) * args.ctx_size) as f64 / rate;
            eprintln!(
                "{} of {} windows, {rate:.0} tokens/s, {left:.0} s left",
                step.done, step.of
            );
            if args.output_frequency > 0 && step.done - saved >= args.output_frequency && step.done < step.of
            {
                step.collected.totals().save(checkpoint)?;
                saved = step.done;
            }
            Ok(())
        },
    )?;
    let mut matrix = accumulator.totals().clone();
    matrix.datasets = datasets;
    matrix
        .datasets
        .extend(texts.iter().map(|p| p.display().to_string()));
    Ok(matrix)
}

/// Says which tensors and experts saw too little.
fn warn_of_gaps(matrix: &ImportanceMatrix) {
    for (name, entry) in &matrix.entries {
        let empty = entry.counts.iter().filter(|c| **c == 0.0).count();
        if empty > 0 {
            eprintln!(
                "warning: {name}: {empty} of {} experts saw no token",
                entry.counts.len()
            );
        }
    }
}

fn show(matrix: &ImportanceMatrix, as_json: bool) -> anyhow::Result<()> {
    let tensors = matrix.statistics();
    if tensors.is_empty() {
        bail!("no tensor of the importance matrix has data");
    }
    let by_layer = layers(&tensors);
    if as_json {
        let of_tensor = |t: &TensorStatistics| {
            json!({
                "tensor": t.tensor, "layer": t.layer, "total": t.total, "min": t.min, "max": t.max,
                "mean": t.mean, "deviation": t.deviation, "active": t.active, "elements": t.elements,
                "entropy": t.entropy, "normalized_entropy": t.normalized_entropy(), "zd": t.zd,
                "cosine": t.cosine, "matrices": t.matrices, "without_data": t.without_data,
                "fewest_tokens": t.tokens.0, "most_tokens": t.tokens.1,
            })
        };
        let of_layer = |l: &imatrix::LayerStatistics| json!({"layer": l.layer, "total": l.total, "zd": l.zd, "cosine": l.cosine});
        return print_json(&json!({
            "chunk_count": matrix.chunk_count, "chunk_size": matrix.chunk_size, "datasets": matrix.datasets,
            "tensors": tensors.iter().map(of_tensor).collect::<Vec<_>>(),
            "layers": by_layer.iter().map(of_layer).collect::<Vec<_>>(),
        }));
    }
    print(|out| {
        writeln!(
            out,
            "{:>5}  {:<20} {:>12} {:>10} {:>12} {:>9} {:>9} {:>9} {:>7} {:>10} {:>9} {:>8} {:>8}  Tokens",
            "Layer",
            "Tensor",
            "Σ(Act²)",
            "Min",
            "Max",
            "μ",
            "σ",
            "% Active",
            "N",
            "Entropy",
            "E (norm)",
            "ZD",
            "CosSim",
        )?;
        for t in &tensors {
            let layer = t.layer.map_or_else(|| "-".to_owned(), |l| l.to_string());
            let coverage = match t.without_data {
                0 if t.matrices == 1 => format!("{:.0}", t.tokens.1),
                0 => format!("{:.0} to {:.0} each", t.tokens.0, t.tokens.1),
                n => format!("{n} of {} experts have none", t.matrices),
            };
            writeln!(
                out,
                "{layer:>5}  {:<20} {:>12.2} {:>10.4} {:>12.4} {:>9.2} {:>9.2} {:>8.2}% {:>7} {:>10.4} {:>8.2}% {:>7.2}% {:>8.4}  {coverage}",
                t.short_name(),
                t.total,
                t.min,
                t.max,
                t.mean,
                t.deviation,
                t.active * 100.0,
                t.elements,
                t.entropy,
                t.normalized_entropy() * 100.0,
                t.zd * 100.0,
                t.cosine,
            )?;
        }
        writeln!(
            out,
            "\n{:>5}  {:>14} {:>9} {:>8}",
            "Layer", "μΣ(Act²)", "μZD", "μCosSim"
        )?;
        for l in &by_layer {
            writeln!(
                out,
                "{:>5}  {:>14.2} {:>8.4}% {:>8.4}",
                l.layer,
                l.total,
                l.zd * 100.0,
                l.cosine
            )?;
        }
        Ok(())
    })?;
    debug_assert_eq!(matrix.form, Form::Gguf);
    Ok(())
}
