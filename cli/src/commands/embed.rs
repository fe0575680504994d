//! `quantsmith embed`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use convert::kind::expect_model;
use reference::{Model, Tokenizer};

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
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Threads; 0 for as many as the machine runs at once.
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    threads: usize,
}

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
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())
        .with_context(|| format!("{}", args.model.display()))?;
    let mut texts = args.prompt.clone();
    if let Some(file) = &args.file {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        texts.extend(text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned));
    }
    let ids: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| tokenizer.encode(text.as_bytes(), true, false))
        .collect();
    let mut vectors = Vec::with_capacity(ids.len());
    for batch in ids.chunks(BATCH) {
        let windows: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        vectors.extend(model.embed(&windows)?);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.json {
        let entries: Vec<_> = texts
            .iter()
            .zip(&ids)
            .zip(&vectors)
            .map(|((text, ids), vector)| {
                serde_json::json!({ "text": text, "n_tokens": ids.len(), "embedding": vector })
            })
            .collect();
        writeln!(out, "{}", serde_json::json!({ "embeddings": entries }))?;
    } else {
        for vector in &vectors {
            let numbers: Vec<String> = vector.iter().map(|x| format!("{x:.6}")).collect();
            writeln!(out, "{}", numbers.join(" "))?;
        }
    }
    out.flush()?;
    Ok(())
}
