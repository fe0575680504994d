//! The files and settings that a vocabulary is read from, of one model directory.

use std::path::Path;

use serde_json::Value as Json;

use super::files::{self, VocabFiles};
use super::sentencepiece;
use super::{hf, merges};
use crate::{Error, Result};

/// Reads the configuration files and `tokenizer.json` or, without that, the files of a tokenizer class's own that say the
/// same.
pub(super) fn read(dir: &Path, config: &Json) -> Result<VocabFiles> {
    let mut files = VocabFiles::read(dir, config)?;
    let path = dir.join(JSON);
    let mut bytes = files::read_optional(&path, files::MAX_VOCAB_BYTES)?;
    if bytes.is_none()
        && let Some(class) = hf::class_name(&files)
    {
        let space = files.tokenizer_config("add_prefix_space").and_then(Json::as_bool);
        bytes = merges::tokenizer_json(dir, class, space.unwrap_or(false))?;
    }
    if let Some(bytes) = bytes {
        let parsed = files::parse_json(&path, &bytes)?;
        files.tokenizer = Some((bytes, parsed));
    }
    Ok(files)
}

const JSON: &str = "tokenizer.json";

/// The id of an added token, by its text, as `tokenizer_config.json` or `tokenizer.json` has it.
pub(crate) fn added_token_id(dir: &Path, text: &str) -> Result<Option<u64>> {
    let files = read(dir, &Json::Null)?;
    let has_text = |token: &Json| token.get("content").and_then(Json::as_str) == Some(text);
    let decoder = files
        .tokenizer_config("added_tokens_decoder")
        .and_then(Json::as_object);
    let configured = decoder.and_then(|d| d.iter().find(|(_, token)| has_text(token)));
    if let Some(id) = configured.and_then(|(id, _)| id.trim().parse().ok()) {
        return Ok(Some(id));
    }
    let added = files.tokenizer_json().and_then(|t| t.added_tokens.as_ref());
    let token = added.and_then(|tokens| tokens.iter().find(|token| has_text(token)));
    Ok(token.and_then(|token| token.get("id")?.as_u64()))
}

/// Tokens that a directory lists.
pub(crate) struct Listed {
    pub(crate) count: u64,
    /// Whether they are the pieces of a SentencePiece model.
    pub(crate) are_pieces: bool,
}

/// The entries of `tokenizer.json`: its vocabulary and its added tokens, as they are listed.
pub(crate) fn entries(dir: &Path) -> Result<Listed> {
    let path = dir.join(JSON);
    let bytes = files::read_optional(&path, files::MAX_VOCAB_BYTES)?
        .ok_or_else(|| Error::input(&path, "expected this file, found none"))?;
    let parsed: files::Entries = files::parse_json(&path, &bytes)?;
    let are_pieces =
        files::parse_json(&path, &bytes).is_ok_and(|json| sentencepiece::is_sentencepiece(&json));
    Ok(Listed {
        count: parsed.count(),
        are_pieces,
    })
}

/// The pieces of `tokenizer.model`.
pub(crate) fn pieces(dir: &Path) -> Result<u64> {
    sentencepiece::count(dir)
}
