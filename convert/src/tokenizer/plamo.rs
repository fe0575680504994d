//! PLaMo's vocabulary: a JSON list on each line, of which the first three entries are the token, its score and its kind.

use gguf::Metadata;
use serde_json::Value as Json;

use super::files::{MAX_TOKENS, MAX_VOCAB_BYTES, SIZE_KEYS, VocabFiles, text_optional};
use super::keys::{ADD_SPACE_PREFIX, EOT};
use super::kind::VocabKind;
use super::special::token_content;
use super::tokens::{TokenList, TokenType};
use super::vocabulary::Vocabulary;
use crate::{Error, Result};

/// The file's name.
pub(super) const FILE: &str = "tokenizer.jsonl";
/// The score of tokens that fill up the vocabulary.
const PADDING_SCORE: f32 = -1000.0;
/// The id of `<|plamo:op|>`, with which a turn of a chat ends.
const END_OF_TURN: u32 = 4;

/// Special tokens of `tokenizer_config.json`, and the keys of their ids, in output order.
const SPECIAL: [(&str, &str); 5] = [
    ("bos_token", "bos_token_id"),
    ("eos_token", "eos_token_id"),
    ("pad_token", "padding_token_id"),
    // The format's own spelling.
    ("sep_token", "seperator_token_id"),
    ("unk_token", "unknown_token_id"),
];

/// Reads the vocabulary.
pub(super) fn vocabulary(files: &VocabFiles, mut metadata: Metadata) -> Result<Vocabulary> {
    let path = files.dir.join(FILE);
    let text = text_optional(&path, MAX_VOCAB_BYTES)?.unwrap_or_default();
    let mut list = TokenList::default();
    let mut scores = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let error = |message: &str| Error::input(&path, format!("line {}: {message}", number + 1));
        let entry: Vec<Json> = serde_json::from_str(line)
            .map_err(|_| error("found no list, expected a token, its score and its kind"))?;
        let (Some(token), Some(score)) = (
            entry.first().and_then(Json::as_str),
            entry.get(1).and_then(Json::as_f64),
        ) else {
            return Err(error("expected a token, its score and its kind"));
        };
        if list.texts.len() >= MAX_TOKENS {
            return Err(error(&format!(
                "expected at most {MAX_TOKENS} tokens, found more"
            )));
        }
        list.types.push(match entry.get(2).and_then(Json::as_str) {
            Some("UNKNOWN") => TokenType::Unknown,
            Some("CONTROL") => TokenType::Control,
            Some("BYTE") => TokenType::Byte,
            _ if token.starts_with("<|plamo:") && token.ends_with("|>") => TokenType::Control,
            _ => TokenType::Normal,
        });
        list.texts.push(token.to_owned());
        scores.push(score as f32);
    }
    let own = list.texts.len();
    let n_vocab = files.vocab_size(SIZE_KEYS, own)?.unwrap_or(own).max(own);
    list.texts
        .extend((1..=n_vocab - own).map(|n| format!("[PAD{n}]")));
    list.types.resize(n_vocab, TokenType::Unused);
    scores.resize(n_vocab, PADDING_SCORE);
    let mut ids = Vec::new();
    for (name, key) in SPECIAL {
        let Some(token) = files.tokenizer_config(name).and_then(token_content) else {
            continue;
        };
        let id = list.texts.iter().position(|text| text == token);
        let id = id.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
            Error::input(
                &path,
                format!("{name} of tokenizer_config.json: found {token:?}, expected a token of this file"),
            )
        })?;
        ids.push((key, id));
    }
    list.scores = Some(scores);
    list.write_as(&mut metadata, "plamo2", "default");
    for (key, id) in ids {
        metadata.set_in_place(format!("tokenizer.ggml.{key}"), id);
    }
    metadata.set_in_place(EOT, END_OF_TURN);
    metadata.set_in_place(ADD_SPACE_PREFIX, false);
    Ok(Vocabulary::new(VocabKind::Plamo, metadata, (n_vocab, own)))
}
