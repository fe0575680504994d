//! Prints the `tokenizer.*` metadata of a model directory, one line for each key: the key, the type,
//! the number of elements, and the SHA-256 of the value as a GGUF file holds it. The last two lines
//! of standard error tell how the pre-tokenizer was found.
//!
//! `compare_vocab.py` beside the tests prints the same lines for llama.cpp's converter.

use std::path::PathBuf;

use anyhow::{Context, bail};
use convert::tokenizer::{VocabRequest, vocab_metadata};
use oracle::vocab::{digest_lines, request_for};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let Some(dir) = args.next().map(PathBuf::from) else {
        bail!("usage: vocab_digest MODEL_DIR [PRE_TOKENIZER]");
    };
    let pre_tokenizer = args.next().map(|name| name.to_string_lossy().into_owned());
    let config = std::fs::read(dir.join("config.json")).context("config.json")?;
    let config: serde_json::Value = serde_json::from_slice(&config)?;
    let request: VocabRequest = request_for(&config).pre_tokenizer(pre_tokenizer);
    let vocabulary = vocab_metadata(&dir, &config, &request)?;
    print!("{}", digest_lines(&vocabulary.metadata));
    for warning in &vocabulary.warnings {
        eprintln!("warning: {warning}");
    }
    if let Some(pre) = &vocabulary.pre_tokenizer {
        eprintln!("{} ({:?})", pre.name, pre.found_by);
    }
    Ok(())
}
