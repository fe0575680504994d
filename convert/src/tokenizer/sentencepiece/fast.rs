//! A SentencePiece model as `tokenizer.json` has it, which is all that `transformers` 5 writes of one.
//!
//! The pieces are the vocabulary. What SentencePiece calls scores is the order of the merges there: its trainer
//! numbers the pieces that it merged, and after them the single characters, from 0 downwards in the order of their
//! ids, and gives 0 to all others.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::proto::{Algorithm, Normalizer, Piece, PieceType};
use super::{FILE, Model};
use crate::tokenizer::files::{MAX_TOKENS, Merge, TokenizerJson, VocabFiles, parse_json};
use crate::tokenizer::special::token_content;
use crate::tokenizer::tokens::{is_byte_token, padding_text};
use crate::{Error, Result};

/// SentencePiece's stand-in for a space.
const SPACE: char = '▁';

/// Whether a `tokenizer.json` holds a SentencePiece model: pieces with scores, or merges of text whose spaces are
/// written as SentencePiece writes them, or single bytes for what is in no piece.
pub(in crate::tokenizer) fn is_sentencepiece(tokenizer: &TokenizerJson) -> bool {
    let spaces = |part: &Option<Json>| part.as_ref().is_some_and(|part| part.to_string().contains(SPACE));
    match tokenizer.model.kind.as_deref() {
        Some("Unigram") => true,
        Some("BPE") => {
            tokenizer.model.byte_fallback == Some(true)
                || spaces(&tokenizer.normalizer)
                || spaces(&tokenizer.pre_tokenizer)
        }
        _ => false,
    }
}

#[derive(Deserialize)]
struct Document {
    model: Body,
}

#[derive(Deserialize)]
struct Body {
    vocab: Vocab,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    unk_id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vocab {
    Ids(HashMap<String, u32>),
    Scores(Vec<(String, f32)>),
}

/// The model of a directory that has a `tokenizer.json` and no `tokenizer.model`.
pub(super) fn model(files: &VocabFiles) -> Result<Model> {
    let path = files.dir.join("tokenizer.json");
    let Some((bytes, structure)) = &files.tokenizer else {
        return Err(Error::input(
            files.dir.join(FILE),
            "expected this file, found none",
        ));
    };
    let body = parse_json::<Document>(&path, bytes)?.model;
    let named = files.tokenizer_config("unk_token").and_then(token_content);
    let unknown = body.unk_token.as_deref().or(named).map(str::to_owned);
    let merged = body.merges.iter().map(Merge::whole);
    let (pieces, algorithm) = match body.vocab {
        Vocab::Ids(vocab) => {
            let texts = by_id(&vocab).ok_or_else(|| {
                Error::input(
                    &path,
                    format!("expected ids below {MAX_TOKENS}, found a greater one"),
                )
            })?;
            let pieces = numbered(texts, structure, unknown.as_deref(), merged);
            (pieces, Algorithm::PairMerges)
        }
        Vocab::Scores(list) if list.len() > MAX_TOKENS => {
            return Err(Error::input(
                &path,
                format!("expected at most {MAX_TOKENS} tokens, found {}", list.len()),
            ));
        }
        Vocab::Scores(list) => {
            let unknown = match body.unk_id {
                Some(id) => list
                    .get(usize::try_from(id).unwrap_or(usize::MAX))
                    .map(|(text, _)| text.clone()),
                None => unknown,
            };
            let piece = |(text, score): (String, f32)| {
                let kind = kind_of(&text, structure, unknown.as_deref());
                Piece { text, score, kind }
            };
            (list.into_iter().map(piece).collect(), Algorithm::Unigram)
        }
    };
    Ok(Model {
        bound_pieces: super::BoundPieces::default(),
        pieces,
        algorithm,
        normalizer: Normalizer {
            charsmap: Vec::new(),
            add_dummy_prefix: puts_space_first(structure),
            remove_extra_whitespaces: false,
        },
    })
}

/// The texts of a vocabulary by id, `None` for ids without one; nothing where an id is too large.
fn by_id(vocab: &HashMap<String, u32>) -> Option<Vec<Option<&str>>> {
    let count = vocab.values().max().map_or(0, |&id| id as usize + 1);
    if count > MAX_TOKENS {
        return None;
    }
    let mut texts: Vec<Option<&str>> = vec![None; count];
    for (text, &id) in vocab {
        let place = &mut texts[id as usize];
        // Of two texts of one id the lesser, so that the order of a map does not matter.
        if place.is_none_or(|known| text.as_str() < known) {
            *place = Some(text);
        }
    }
    Some(texts)
}

/// The pieces of a model of pair merges, with the scores that its trainer gave them.
fn numbered(
    texts: Vec<Option<&str>>,
    structure: &TokenizerJson,
    unknown: Option<&str>,
    merged: impl Iterator<Item = String>,
) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::with_capacity(texts.len());
    let mut normal = 0u32;
    for (id, text) in texts.iter().enumerate() {
        let Some(text) = text else {
            pieces.push(Piece {
                text: padding_text(id),
                score: 0.0,
                kind: PieceType::Unused,
            });
            continue;
        };
        let kind = kind_of(text, structure, unknown);
        let counted = matches!(kind, PieceType::Normal);
        pieces.push(Piece {
            text: (*text).to_owned(),
            score: if counted { -(normal as f32) } else { 0.0 },
            kind,
        });
        normal += u32::from(counted);
    }
    // Where the merges come in another order than the ids, they decide.
    let mut order: HashMap<String, usize> = HashMap::new();
    for text in merged {
        let next = order.len();
        order.entry(text).or_insert(next);
    }
    let places = || {
        pieces
            .iter()
            .filter(|p| matches!(p.kind, PieceType::Normal))
            .filter_map(|p| order.get(&p.text))
    };
    if !places().is_sorted() {
        let last = order.len();
        for piece in pieces.iter_mut().filter(|p| matches!(p.kind, PieceType::Normal)) {
            piece.score = -(order.get(&piece.text).copied().unwrap_or(last) as f32);
        }
    }
    pieces
}

fn kind_of(text: &str, structure: &TokenizerJson, unknown: Option<&str>) -> PieceType {
    let added = || structure.added_tokens.iter().flatten();
    let found = || added().find(|token| token.get("content").and_then(Json::as_str) == Some(text));
    if unknown == Some(text) {
        return PieceType::Unknown;
    }
    if is_byte_token(text) {
        return PieceType::Byte;
    }
    match found().map(|token| token.get("special").and_then(Json::as_bool)) {
        None => PieceType::Normal,
        Some(Some(true)) => PieceType::Control,
        Some(_) => PieceType::UserDefined,
    }
}

/// Whether a space is put before a text.
pub(in crate::tokenizer) fn puts_space_first(structure: &TokenizerJson) -> bool {
    [&structure.normalizer, &structure.pre_tokenizer]
        .into_iter()
        .flatten()
        .flat_map(steps)
        .any(|step| match step["type"].as_str() {
            Some("Prepend") => step["prepend"] == SPACE.to_string(),
            Some("Metaspace") => match step["prepend_scheme"].as_str() {
                Some(scheme) => scheme != "never",
                None => step["add_prefix_space"] == true,
            },
            _ => false,
        })
}

/// The steps of a sequence, or the one step that there is.
fn steps(part: &Json) -> Vec<&Json> {
    let list = ["normalizers", "pretokenizers"]
        .iter()
        .find_map(|key| part.get(*key)?.as_array());
    list.map_or_else(|| vec![part], |list| list.iter().collect())
}
