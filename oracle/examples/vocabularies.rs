//! `vocabularies OUT_DIR [NAME ...]`: what we make of the published vocabularies that `py/published_vocabularies.py` put
//! there against what the stock converter and stock llama.cpp do. One row for each; exit status 1 when one differs.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use convert::source::Source as _;
use convert::source::hf::{HfOptions, HfSource};
use gguf::{GgufModel, Metadata, Value};
use oracle::forward;
use reference::Tokenizer;

fn main() -> Result<()> {
    let (dir, names) = oracle::cases("usage: vocabularies OUT_DIR [NAME ...]")?;
    let mut failed = 0;
    println!(
        "{:<16} {:<32} {:>7} {:<12} metadata  ids",
        "vocabulary", "class", "tokens", "pre"
    );
    for name in &names {
        let folder = dir.join(name);
        let class = forward::class(&folder.join("model")).unwrap_or_else(|_| "params.json".to_owned());
        let told = std::fs::read_to_string(folder.join("pre")).ok();
        let options = HfOptions::default().vocab_only(true).pre_tokenizer(told.clone());
        let source = HfSource::open(&folder.join("model"), &options);
        let why = std::fs::read_to_string(folder.join("why"));
        let (tokens, pre) = source.as_ref().map_or((0, "-".to_owned()), |source| {
            let metadata = source.metadata();
            (tokens(metadata), text(metadata, "tokenizer.ggml.pre"))
        });
        print!("{name:<16} {class:<32} {tokens:>7} {pre:<12} ");
        let mut notes: Vec<String> = why.iter().map(|why| format!("stock stops: {why}")).collect();
        notes.extend(told.map(|_| "both are told the pre-tokenizer: neither knows it".to_owned()));
        match source {
            Err(error) if why.is_ok() => {
                println!("refused   -");
                notes.push(format!("ours: {error}"));
            }
            Err(error) => {
                println!("FAILS     -");
                failed += 1;
                notes.push(format!("{error:#}"));
            }
            Ok(source) if why.is_ok() => {
                let ids = ids_of_tokenizers(source.metadata(), &folder);
                println!(
                    "alone     {}",
                    ids.as_ref().map_or("DIFFER".to_owned(), usize::to_string)
                );
                failed += usize::from(ids.is_err());
                notes.extend(ids.err().map(|e| format!("{e:#}")));
            }
            Ok(source) => {
                let metadata = same_metadata(&source, &folder);
                let ids = oracle::vocab::same_ids(source.metadata(), &folder);
                let word = if metadata.is_ok() { "equal" } else { "DIFFERS" };
                let count = ids.as_ref().map_or("DIFFER".to_owned(), usize::to_string);
                println!("{word:<9} {count}");
                failed += usize::from(metadata.is_err() || ids.is_err());
                notes.extend(
                    [metadata.err(), ids.err()]
                        .into_iter()
                        .flatten()
                        .map(|e| format!("{e:#}")),
                );
            }
        }
        for note in notes {
            println!("    {note}");
        }
    }
    println!("{} cases, {failed} with differences", names.len());
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

/// Keys, their order and values.
fn same_metadata(source: &HfSource, folder: &Path) -> Result<()> {
    let stock = GgufModel::open(&folder.join("stock.gguf")).context("stock.gguf")?;
    let differences = oracle::files::in_metadata(source, &stock);
    ensure!(differences.is_empty(), differences.join("; "));
    Ok(())
}

/// Whether a vocabulary's ids of the folder's texts are those of the crate `tokenizers`, which the publishers have theirs
/// from, without what stands in front of a text; how many texts there are.
fn ids_of_tokenizers(metadata: &Metadata, folder: &Path) -> Result<usize> {
    let ours = Tokenizer::from_metadata(metadata)?;
    let theirs = tokenizers::Tokenizer::from_file(folder.join("model/tokenizer.json"));
    let theirs = theirs.map_err(|error| anyhow!("tokenizer.json: {error}"))?;
    let mut count = 0;
    for text in oracle::vocab::texts(folder)? {
        // It takes whole characters alone.
        let Ok(text) = str::from_utf8(&text) else { continue };
        let wanted = theirs
            .encode(text, false)
            .map_err(|error| anyhow!("{text:?}: {error}"))?;
        let got = ours.encode(text.as_bytes(), false, true);
        ensure!(
            got == wanted.get_ids(),
            "{text:?}: ids {got:?}, by tokenizers {:?}",
            wanted.get_ids()
        );
        count += 1;
    }
    ensure!(count > 0, "no texts");
    Ok(count)
}

fn tokens(metadata: &Metadata) -> usize {
    match metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array(array)) => array.len(),
        _ => 0,
    }
}

fn text(metadata: &Metadata, key: &str) -> String {
    match metadata.get(key) {
        Some(Value::String(text)) => text.to_string_lossy().into_owned(),
        _ => "-".to_owned(),
    }
}
