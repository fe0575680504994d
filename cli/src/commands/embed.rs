//! `quantsmith embed`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use convert::kind::expect_model;
use reference::{Model, Tokenizer};
use serde_json::{Value, json};

/// Arguments of `quantsmith embed`.
#[derive(clap::Args)]
#[command(
    group = clap::ArgGroup::new("text").required(true).multiple(true),
    override_usage = "quantsmith embed [OPTIONS] <MODEL> <FILE|--prompt <TEXT>>"
)]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,
    /// Embed each line of this file.
    #[arg(group = "text")]
    file: Option<PathBuf>,
    /// Embed this text; may be given several times.
    #[arg(short, long, group = "text", value_name = "TEXT")]
    prompt: Vec<String>,
    /// The form of a text's vectors: one of length one, or with `none` a row of numbers for each token as the model
    /// makes it (of a decoder of sound, a row of a spectrum for each code), with `rank` the scores of a reranker's or classifier's
    /// labels. By default as the file says.
    #[arg(long, value_name = "HOW")]
    pooling: Option<PoolingArg>,
    /// The texts are token ids, divided by blanks or commas: for models without a vocabulary, whose tokens are codes.
    #[arg(long)]
    ids: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Threads; 0 for as many as the machine runs at once.
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    threads: usize,
}

/// Poolings by the names that llama-embedding has for them.
#[derive(Clone, Copy, ValueEnum)]
enum PoolingArg {
    None,
    Mean,
    Cls,
    Last,
    Rank,
}

/// The number of `rank` among the poolings that a file may name.
const RANK: u64 = 4;

/// Texts that are run at a time.
const BATCH: usize = 16;

/// Runs the command.
pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    let located = crate::hub::locate(&args.model, crate::hub::Need::Whole)?;
    args.model = located.path().to_path_buf();
    crate::threads::in_pool(args.threads, || embed(&args))?
}

fn embed(args: &Args) -> anyhow::Result<()> {
    expect_model(&args.model)?;
    let model = Model::load(&args.model)?;
    let mut texts = args.prompt.clone();
    if let Some(file) = &args.file {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        texts.extend(text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned));
    }
    let ids = tokens(args, &model, &texts)?;
    let mut vectors = Vec::with_capacity(ids.len());
    for batch in ids.chunks(BATCH) {
        let windows: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        vectors.extend(embedded(&model, &windows, args.pooling)?);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.json {
        let entries: Vec<_> = texts
            .iter()
            .zip(&ids)
            .zip(&vectors)
            .map(|((text, ids), rows)| {
                let embedding: Value = match (args.pooling, rows.as_slice()) {
                    (Some(PoolingArg::None), rows) => json!(rows),
                    (_, rows) => json!(rows.concat()),
                };
                json!({ "text": text, "n_tokens": ids.len(), "embedding": embedding })
            })
            .collect();
        writeln!(out, "{}", json!({ "embeddings": entries }))?;
    } else {
        for row in vectors.iter().flatten() {
            let numbers: Vec<String> = row.iter().map(|x| format!("{x:.6}")).collect();
            writeln!(out, "{}", numbers.join(" "))?;
        }
    }
    out.flush()?;
    Ok(())
}

/// The tokens of each text.
fn tokens(args: &Args, model: &Model, texts: &[String]) -> anyhow::Result<Vec<Vec<u32>>> {
    if args.ids {
        return texts.iter().map(|text| numbers(text)).collect();
    }
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).with_context(|| {
        format!(
            "{}: no text can be embedded without a vocabulary (--ids takes token ids)",
            args.model.display()
        )
    })?;
    Ok(texts
        .iter()
        .map(|text| tokenizer.encode(text.as_bytes(), true, false))
        .collect())
}

/// Token ids, divided by blanks or commas.
fn numbers(text: &str) -> anyhow::Result<Vec<u32>> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    words
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.parse()
                .map_err(|_| anyhow!("--ids: expected token ids, found {word:?}"))
        })
        .collect()
}

/// The rows of each window: one, or one for each token.
fn embedded(
    model: &Model,
    windows: &[&[u32]],
    pooling: Option<PoolingArg>,
) -> anyhow::Result<Vec<Vec<Vec<f32>>>> {
    use reference::Pooling;
    let of_file = model.gguf().metadata().arch("pooling_type");
    let pooled = match pooling {
        None if of_file.and_then(gguf::Value::as_u64) == Some(RANK) => model.classify(windows)?,
        None => model.embed(windows)?,
        Some(PoolingArg::Mean) => model.embed_by(windows, Pooling::Mean)?,
        Some(PoolingArg::Cls) => model.embed_by(windows, Pooling::First)?,
        Some(PoolingArg::Last) => model.embed_by(windows, Pooling::Last)?,
        Some(PoolingArg::Rank) => model.classify(windows)?,
        Some(PoolingArg::None) => {
            let all = model.embed_tokens(windows)?;
            let mut rows = (0..all.rows).map(|row| all.row(row).to_vec());
            return Ok(windows
                .iter()
                .map(|window| rows.by_ref().take(window.len()).collect())
                .collect());
        }
    };
    Ok(pooled.into_iter().map(|vector| vec![vector]).collect())
}
