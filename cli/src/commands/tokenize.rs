//! `quantsmith tokenize`.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use gguf::{Backing, GgufModel, OpenOptions};
use reference::Tokenizer;

use crate::hub;

/// Arguments of `quantsmith tokenize`.
#[derive(clap::Args)]
#[command(
    group = clap::ArgGroup::new("text").required(true),
    override_usage = "quantsmith tokenize [OPTIONS] <MODEL> <FILE|--prompt <TEXT>|--stdin>"
)]
pub(crate) struct Args {
    /// The model, of which only the metadata is read.
    model: PathBuf,
    /// File whose text is tokenized.
    #[arg(group = "text")]
    file: Option<PathBuf>,
    /// Tokenize this text.
    #[arg(short, long, group = "text", value_name = "TEXT")]
    prompt: Option<String>,
    /// Tokenize standard input.
    #[arg(long, group = "text")]
    stdin: bool,
    /// Do not add a BOS token, even where the model wants one.
    #[arg(long)]
    no_bos: bool,
    /// Take the text of special tokens for these tokens (the default).
    #[arg(long, overrides_with = "no_parse_special")]
    parse_special: bool,
    /// Take the text of special tokens for plain text.
    #[arg(long)]
    no_parse_special: bool,
    /// Print only the ids, in one line like [1, 2, 3].
    #[arg(long)]
    ids: bool,
    /// Print the number of tokens after them.
    #[arg(long)]
    show_count: bool,
    /// Print one JSON object: the ids, and the text of each where it is UTF-8.
    #[arg(long, conflicts_with_all = ["ids", "show_count"])]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    let located = hub::locate(&args.model, hub::Need::Headers)?;
    args.model = located.path().to_path_buf();
    let options = OpenOptions::default()
        .backing(Backing::File)
        .allow_missing_data(true);
    let model = GgufModel::open_with(&args.model, options)?;
    let tokenizer =
        Tokenizer::from_metadata(model.metadata()).with_context(|| format!("{}", args.model.display()))?;
    let text = match (args.prompt, &args.file) {
        (Some(prompt), _) => prompt.into_bytes(),
        (None, Some(file)) => std::fs::read(file).with_context(|| format!("{}", file.display()))?,
        (None, None) => {
            let mut text = Vec::new();
            std::io::stdin()
                .read_to_end(&mut text)
                .context("standard input")?;
            text
        }
    };
    let add_special = tokenizer.add_bos() && !args.no_bos;
    let parse_special = args.parse_special || !args.no_parse_special;
    let ids = tokenizer.encode(&text, add_special, parse_special);

    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.json {
        let pieces: Vec<Option<String>> = ids
            .iter()
            .map(|&id| String::from_utf8(tokenizer.piece(id)).ok())
            .collect();
        let report = serde_json::json!({ "n_tokens": ids.len(), "tokens": ids, "pieces": pieces });
        writeln!(out, "{report}")?;
    } else if args.ids {
        let list: Vec<String> = ids.iter().map(u32::to_string).collect();
        writeln!(out, "[{}]", list.join(", "))?;
    } else {
        for &id in &ids {
            write!(out, "{id:6} -> '")?;
            out.write_all(&tokenizer.piece(id))?;
            writeln!(out, "'")?;
        }
    }
    if args.show_count {
        writeln!(out, "Total number of tokens: {}", ids.len())?;
    }
    out.flush()?;
    Ok(())
}
