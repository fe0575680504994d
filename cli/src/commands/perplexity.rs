//! `quantsmith perplexity`.

mod draft;
mod tasks;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use convert::kind::expect_model;
use convert::path_json;
use reference::divergence::{self, Estimate, LogitsReader, Observation, Quantiles, Statistics};
use reference::tokenizer::Tokenizer;
use reference::{
    ChunkResult, Model, PerplexityOptions, PerplexityReport, perplexity, perplexity_strided, scored_tokens,
};
use serde_json::{Value, json};

use crate::args::chunks::Chunks;
use crate::args::memory::BufferArgs;
use crate::args::rounding::{self, RoundingArgs};
use crate::context::warn_of_length;
use crate::inputs::hold;
use crate::output::{print, print_json};
use crate::progress::{Meter, Unit};
use crate::threads::in_pool;

/// Arguments of `quantsmith perplexity`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file of the model (the first, where there are shards), and the text to evaluate on, or file of tasks; the text
    /// is not needed where --base is a logits file, which holds its tokens
    #[arg(value_name = "MODEL [TEXT]", num_args = 0..=2)]
    operands: Vec<PathBuf>,

    /// The model, as llama-perplexity takes it
    #[arg(short = 'm', long = "model", value_name = "FILE")]
    given_model: Option<PathBuf>,

    /// The text, as llama-perplexity takes it
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    given_text: Option<PathBuf>,

    #[arg(skip)]
    model: PathBuf,

    #[arg(skip)]
    text: Option<PathBuf>,

    /// Tokens in a window
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    ctx_size: usize,

    /// Evaluate at most this many windows; -1 for all
    #[arg(long, value_name = "N", default_value = "-1", allow_negative_numbers = true)]
    chunks: Chunks,

    /// Measure the KL divergence from the model or logits file --base
    #[arg(long)]
    kl_divergence: bool,

    /// The unquantized model (GGUF), or a logits file of it
    #[arg(
        long,
        value_name = "FILE",
        requires = "kl_divergence",
        conflicts_with = "save_all_logits"
    )]
    base: Option<PathBuf>,

    /// Write the model's logits to a file, to compare others with it; with --kl-divergence, the file to compare with, as
    /// llama-perplexity has it
    #[arg(long, visible_alias = "kl-divergence-base", value_name = "FILE")]
    save_all_logits: Option<PathBuf>,

    /// Score the last N tokens of windows that begin N tokens after each other, and have N/2 more tokens than -c says
    #[arg(long, value_name = "N", conflicts_with_all = ["kl_divergence", "save_all_logits"], value_parser = clap::value_parser!(u32).range(1..))]
    ppl_stride: Option<u32>,

    /// Form of the figures while it runs: 0 for `[window] PPL`, 1 for a line on standard output with the first token of the
    /// window and the PPL, and without a stride also the mean and the error of the scores
    #[arg(long, value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    ppl_output_type: u8,

    #[command(flatten)]
    tasks: tasks::TaskArgs,

    #[command(flatten)]
    draft: draft::DraftArgs,

    #[command(flatten)]
    rounding: RoundingArgs,

    #[command(flatten)]
    memory: BufferArgs,

    /// Threads; 0 for as many as the machine runs at once
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    threads: usize,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Compares the tokenizer with the embeddings: llama.cpp loads no model where they differ.
///
/// # Errors
/// Tokens that have no embedding.
fn check_vocabulary(model: &Model, tokenizer: &Tokenizer, path: &Path) -> anyhow::Result<()> {
    let (tokens, rows) = (tokenizer.n_vocab(), model.embedding_rows());
    if tokens > rows {
        bail!(
            "{}: tensor 'token_embd.weight': expected a row for each of the {tokens} tokens, found {rows} rows",
            path.display()
        );
    }
    if rows > tokens {
        eprintln!(
            "warning: tensor 'token_embd.weight': expected a row for each of the {tokens} tokens, found {rows} rows; the \
             rows beyond the tokens count as no token's"
        );
    }
    Ok(())
}

/// Runs the command.
pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    settle_operands(&mut args)?;
    let located = crate::hub::locate(&args.model, crate::hub::Need::Whole)?;
    args.model = located.path().to_path_buf();
    let rounding = args.rounding.measuring();
    hold(std::iter::once(&args.model).chain(&args.text).chain(&args.base));
    if let Some(path) = &args.save_all_logits {
        gguf::check_target(path, 0)?;
    }
    expect_model(&args.model)?;
    let model = Model::load(&args.model)?.with_rounding(rounding);
    model.expect_predictions()?;
    eprintln!("{}", rounding::meaning(rounding));
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let options = PerplexityOptions::default()
        .context(args.ctx_size)
        .chunks(args.chunks.most())
        .bos(tokenizer.bos().filter(|_| tokenizer.add_bos()))
        .max_memory(args.memory.bytes());
    check_vocabulary(&model, &tokenizer, &args.model)?;
    if args.tasks.given() {
        return tasks::run(&model, &tokenizer, &args);
    }
    warn_of_length(model.gguf().metadata(), args.ctx_size);
    if let Some(draft) = args.draft.file() {
        return draft::run(&model, &tokenizer, draft, &options, &args);
    }
    if let Some(base) = &args.base {
        let seen = diverge(&model, &tokenizer, base, &options, &args)?;
        return print_divergence(&seen, &args);
    }
    let tokens = tokens(&tokenizer, args.text.as_deref())?;
    if let Some(path) = &args.save_all_logits {
        let meter = Meter::new("logits", Unit::Windows);
        meter.show(0, 0);
        in_pool(args.threads, || {
            divergence::save_logits(&model, &tokens, &options, path, &mut |p| {
                meter.show(p.windows as u64, p.of as u64);
            })
        })??;
    }
    let meter = Meter::new("perplexity", Unit::Windows);
    meter.show(0, 0);
    let mut running = Running::default();
    let mut show = |chunk: &ChunkResult| {
        running.add(&chunk.nll);
        let step = args.ppl_stride.map_or(args.ctx_size, |n| n as usize);
        match (args.ppl_output_type, args.ppl_stride) {
            (0, _) => meter.print(&format!("[{}/{}] {:.4}", chunk.index + 1, chunk.of, chunk.ppl)),
            (_, Some(_)) => println!("{:8}  {:.4}", chunk.index * step, chunk.ppl),
            (_, None) => {
                let (mean, error) = running.mean_and_error();
                println!(
                    "{:8}  {:.4}  {mean:.6}  {error:.6}",
                    chunk.index * step,
                    chunk.ppl
                );
            }
        }
        meter.show(chunk.index as u64 + 1, chunk.of as u64);
    };
    let report = in_pool(args.threads, || match args.ppl_stride {
        None => perplexity(&model, &tokens, &options, &mut show),
        Some(stride) => perplexity_strided(&model, &tokens, &options, stride as usize, &mut show),
    })??;
    drop(meter);
    print_perplexity(&report, &args)
}

/// Model and text, from operands or from llama-perplexity's flags; and of its one flag for logits the meaning.
fn settle_operands(args: &mut Args) -> anyhow::Result<()> {
    let mut operands = std::mem::take(&mut args.operands).into_iter();
    let usage = "expected `quantsmith perplexity MODEL TEXT`, or -m MODEL -f TEXT";
    args.model = match args.given_model.take() {
        Some(model) => model,
        None => operands
            .next()
            .with_context(|| format!("the model is missing: {usage}"))?,
    };
    args.text = args.given_text.take().or_else(|| operands.next());
    if let Some(more) = operands.next() {
        bail!("{}: one operand too many: {usage}", more.display());
    }
    if args.kl_divergence && args.base.is_none() {
        args.base = args.save_all_logits.take();
        if args.base.is_none() {
            bail!(
                "--kl-divergence: expected what to compare with: --base MODEL.gguf, or a logits file \
                 (--kl-divergence-base FILE, which a run without --kl-divergence writes)"
            );
        }
    }
    Ok(())
}

/// Sums of scores so far.
#[derive(Default)]
struct Running {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Running {
    fn add(&mut self, nll: &[f64]) {
        self.count += nll.len();
        self.sum += nll.iter().sum::<f64>();
        self.squares += nll.iter().map(|v| v * v).sum::<f64>();
    }

    /// Mean of the negative log probabilities and its error, as llama-perplexity prints them.
    fn mean_and_error(&self) -> (f64, f64) {
        let mean = self.sum / self.count.max(1) as f64;
        let variance = self.squares / self.count.max(1) as f64 - mean * mean;
        match variance > 0.0 && self.count > 1 {
            true => (mean, (variance / (self.count - 1) as f64).sqrt()),
            false => (mean, variance),
        }
    }
}

fn tokens(tokenizer: &Tokenizer, text: Option<&Path>) -> anyhow::Result<Vec<u32>> {
    Ok(tokenizer.encode(read(text)?, true, false))
}

/// The bytes of the text, without a newline at its end, as llama-perplexity takes it.
fn read(text: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let path = text.context(
        "the text to evaluate on is missing: `quantsmith perplexity MODEL TEXT`, or -f TEXT (figures that are published are \
         mostly of WikiText-2's wiki.test.raw)",
    )?;
    let mut bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    bytes.pop_if(|last| *last == b'\n');
    Ok(bytes)
}

fn diverge(
    model: &Model,
    tokenizer: &Tokenizer,
    base: &Path,
    options: &PerplexityOptions,
    args: &Args,
) -> anyhow::Result<Vec<Observation>> {
    let meter = Meter::new("divergence", Unit::Windows);
    meter.show(0, 0);
    let progress = |p: divergence::CompareProgress| meter.show(p.windows as u64, p.of as u64);
    if is_gguf(base)? {
        expect_model(base)?;
        let base = Model::load(base)?.with_rounding(args.rounding.measuring());
        let of_base = Tokenizer::from_metadata(base.gguf().metadata())?;
        let tokens = tokens(tokenizer, args.text.as_deref())?;
        if of_base.encode(read(args.text.as_deref())?, true, false) != tokens {
            bail!("the two models read the text as different tokens: their logits cannot be compared");
        }
        let models = std::slice::from_ref(model);
        let mut all = in_pool(args.threads, || {
            divergence::compare(&base, models, &tokens, options, &mut |p| progress(p))
        })??;
        return all.pop().context("no model was compared");
    }
    let mut reader = LogitsReader::open(base)?;
    if args.text.is_some() {
        let mine = tokens(tokenizer, args.text.as_deref())?;
        let theirs = reader.tokens();
        if mine.len() < theirs.len() || mine[..theirs.len()] != *theirs {
            bail!(
                "{}: the tokens of the logits file are not those of the text; leave the text out to use the \
                 file's own",
                base.display()
            );
        }
    }
    Ok(in_pool(args.threads, || {
        divergence::compare_with_file(&mut reader, model, options, &mut |p| progress(p))
    })??)
}

fn is_gguf(path: &Path) -> anyhow::Result<bool> {
    use std::io::Read as _;
    let mut magic = Vec::new();
    std::fs::File::open(path)
        .and_then(|f| f.take(4).read_to_end(&mut magic))
        .with_context(|| path.display().to_string())?;
    Ok(magic == b"GGUF")
}

fn print_perplexity(report: &PerplexityReport, args: &Args) -> anyhow::Result<()> {
    if args.json {
        return print_json(&json!({
            "model": path_json(&args.model),
            "text": args.text.as_deref().map(path_json),
            "rounding": rounding::name(args.rounding.measuring()),
            "context": report.context,
            "chunks": report.running.len(),
            "text_tokens": report.text_tokens,
            "scored_tokens": report.scored,
            "nll": report.nll,
            "ppl": report.ppl,
            "ppl_error": report.ppl_error,
            "running_ppl": report.running,
        }));
    }
    print(|out| match report.ppl_error {
        Some(error) => writeln!(out, "Final estimate: PPL = {:.4} +/- {error:.5}", report.ppl),
        None => writeln!(out, "Final estimate: PPL = {:.4}", report.ppl),
    })
}

/// The quantiles of a report, largest first, with their names.
const KLD_QUANTILES: &[(&str, f64)] = &[
    ("Maximum", 1.0),
    ("99.9%", 0.999),
    ("99.0%", 0.99),
    ("95.0%", 0.95),
    ("90.0%", 0.9),
    ("Median", 0.5),
    ("10.0%", 0.1),
    ("5.0%", 0.05),
    ("1.0%", 0.01),
    ("0.1%", 0.001),
    ("Minimum", 0.0),
];
const DELTA_P_QUANTILES: &[(&str, f64)] = &[
    ("Maximum", 1.0),
    ("99.9%", 0.999),
    ("99.0%", 0.99),
    ("95.0%", 0.95),
    ("90.0%", 0.9),
    ("75.0%", 0.75),
    ("Median", 0.5),
    ("25.0%", 0.25),
    ("10.0%", 0.1),
    ("5.0%", 0.05),
    ("1.0%", 0.01),
    ("0.1%", 0.001),
    ("Minimum", 0.0),
];

fn print_divergence(seen: &[Observation], args: &Args) -> anyhow::Result<()> {
    let s = Statistics::of(seen).context("no position was scored")?;
    let per_window = scored_tokens(args.ctx_size).max(1);
    let windows: Vec<Statistics> = (1..=seen.len() / per_window)
        .filter_map(|n| Statistics::of(&seen[..n * per_window]))
        .collect();
    match args.json {
        true => print_json(&divergence_json(&s, &windows, args)),
        false => print(|out| {
            write_windows(out, &windows)?;
            write_divergence(out, &s)
        }),
    }
}

fn divergence_json(s: &Statistics, windows: &[Statistics], args: &Args) -> Value {
    let quantiles = |q: &Quantiles, list: &[(&str, f64)]| -> Value {
        list.iter()
            .map(|(name, f)| ((*name).to_lowercase(), json!(q.at(*f))))
            .collect()
    };
    let estimate = |e: Estimate| json!({"value": e.value, "error": e.error});
    json!({
        "model": path_json(&args.model),
        "base": args.base.as_deref().map(path_json),
        "rounding": rounding::name(args.rounding.measuring()),
        "scored_tokens": s.count,
        "ppl": estimate(s.ppl),
        "ppl_base": estimate(s.ppl_base),
        "correlation": s.correlation,
        "ln_ppl_ratio": estimate(s.ln_ppl_ratio),
        "ppl_ratio": estimate(s.ppl_ratio),
        "ppl_difference": estimate(s.ppl_difference),
        "kld": estimate(s.kld),
        "kld_quantiles": quantiles(&s.kld_quantiles, KLD_QUANTILES),
        "delta_p": estimate(s.delta_p),
        "delta_p_quantiles": quantiles(&s.delta_p_quantiles, DELTA_P_QUANTILES),
        "delta_p_rms": estimate(s.delta_p_rms),
        "same_top": estimate(s.same_top),
        "flips": {"lost": estimate(s.flips.lost), "gained": estimate(s.flips.gained), "all": estimate(s.flips.all)},
        "chunks": windows.iter().map(|w| json!({
            "ppl": estimate(w.ppl), "ln_ppl_ratio": estimate(w.ln_ppl_ratio), "kld": estimate(w.kld),
            "delta_p_rms": estimate(w.delta_p_rms), "same_top": estimate(w.same_top),
        })).collect::<Vec<_>>(),
    })
}

/// An estimate in percent.
fn percent(e: Estimate) -> Estimate {
    Estimate {
        value: 100.0 * e.value,
        error: 100.0 * e.error,
    }
}

/// A line for each window, of all up to it.
fn write_windows(out: &mut dyn Write, windows: &[Statistics]) -> io::Result<()> {
    writeln!(
        out,
        "chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS            Same top p"
    )?;
    for (i, w) in windows.iter().enumerate() {
        let (rms, top) = (percent(w.delta_p_rms), percent(w.same_top));
        writeln!(
            out,
            "{:4}    {:9.4} ± {:9.4}    {:10.5} ± {:10.5}    {:10.5} ± {:10.5}    {:6.3} ± {:6.3} %    {:6.3} ± {:6.3} %",
            i + 1,
            w.ppl.value,
            w.ppl.error,
            w.ln_ppl_ratio.value,
            w.ln_ppl_ratio.error,
            w.kld.value,
            w.kld.error,
            rms.value,
            rms.error,
            top.value,
            top.error
        )?;
    }
    Ok(())
}

/// The statistics of all windows, as llama-perplexity prints them.
fn write_divergence(out: &mut dyn Write, s: &Statistics) -> io::Result<()> {
    let line = |out: &mut dyn Write, name: &str, e: Estimate| {
        writeln!(out, "{name:<30}: {:10.6} ± {:10.6}", e.value, e.error)
    };
    writeln!(out, "\n====== Perplexity statistics ======")?;
    line(out, "Mean PPL(Q)", s.ppl)?;
    line(out, "Mean PPL(base)", s.ppl_base)?;
    writeln!(
        out,
        "{:<30}: {:6.2}%",
        "Cor(ln(PPL(Q)), ln(PPL(base)))",
        100.0 * s.correlation
    )?;
    line(out, "Mean ln(PPL(Q)/PPL(base))", s.ln_ppl_ratio)?;
    line(out, "Mean PPL(Q)/PPL(base)", s.ppl_ratio)?;
    line(out, "Mean PPL(Q)-PPL(base)", s.ppl_difference)?;
    writeln!(out, "\n====== KL divergence statistics ======")?;
    writeln!(out, "Mean    KLD: {:10.6} ± {:10.6}", s.kld.value, s.kld.error)?;
    for (name, fraction) in KLD_QUANTILES {
        writeln!(out, "{name:<7} KLD: {:10.6}", s.kld_quantiles.at(*fraction))?;
    }
    writeln!(out, "\n====== Token probability statistics ======")?;
    let mean = percent(s.delta_p);
    writeln!(out, "Mean    Δp: {:6.3} ± {:5.3} %", mean.value, mean.error)?;
    for (name, fraction) in DELTA_P_QUANTILES {
        writeln!(
            out,
            "{name:<7} Δp: {:6.3}%",
            100.0 * s.delta_p_quantiles.at(*fraction)
        )?;
    }
    let (rms, top) = (percent(s.delta_p_rms), percent(s.same_top));
    writeln!(out, "RMS Δp    : {:6.3} ± {:5.3} %", rms.value, rms.error)?;
    writeln!(out, "Same top p: {:6.3} ± {:5.3} %", top.value, top.error)
}
