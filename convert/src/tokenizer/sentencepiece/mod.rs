//! The vocabulary of a SentencePiece `tokenizer.model`, with the tokens that other files of the
//! directory add to it or put in place of its own.

mod proto;

use serde_json::Value as Json;

use super::files::{MAX_TOKENS, MAX_VOCAB_BYTES, VocabFiles, input_error, json_optional, read_optional};
use super::vocab::{TokenList, TokenType, looks_special, padding_text};
use crate::Result;
use proto::PieceType;

/// The file's name.
pub(super) const FILE: &str = "tokenizer.model";

/// The score of an id that no file names.
const PADDING_SCORE: f32 = -10000.0;
/// The score of a token that was added to the model.
const ADDED_SCORE: f32 = -1000.0;

/// The tokens, as many as the configuration says, else as many as the model has.
pub(super) fn tokens(files: &VocabFiles, warnings: &mut Vec<String>) -> Result<TokenList> {
    let path = files.dir.join(FILE);
    let bytes = read_optional(&path, MAX_VOCAB_BYTES)?.ok_or_else(|| input_error(&path, "file not found"))?;
    let pieces = proto::pieces(&bytes, MAX_TOKENS).map_err(|e| input_error(&path, e.to_string()))?;
    // The first key is Gemma 3n's.
    let n_vocab = files
        .vocab_size(&["vocab_size_per_layer_input", "vocab_size"])?
        .filter(|&n| n > 0)
        .unwrap_or(pieces.len());

    let mut slots = Slots::new(n_vocab);
    let n_pieces = pieces.len();
    for (id, piece) in pieces.into_iter().take(n_vocab).enumerate() {
        slots.texts[id] = piece.text;
        slots.scores[id] = piece.score;
        slots.types[id] = match piece.kind {
            // The stock converter leaves user-defined pieces to the files that list added tokens.
            PieceType::Normal | PieceType::UserDefined => TokenType::Normal,
            PieceType::Unknown => TokenType::Unknown,
            PieceType::Control => TokenType::Control,
            PieceType::Unused => TokenType::Unused,
            PieceType::Byte => TokenType::Byte,
        };
    }
    if n_pieces > n_vocab {
        warnings.push(format!(
            "{FILE} has {n_pieces} tokens, the model {n_vocab}; the rest is left out"
        ));
    }
    added_tokens(files, &mut slots, warnings)?;
    added_tokens_decoder(files, &mut slots, warnings)?;
    Ok(TokenList {
        texts: slots.texts,
        types: slots.types,
        scores: Some(slots.scores),
    })
}

/// Tokens by id, each a padding token until something takes its place.
struct Slots {
    texts: Vec<String>,
    types: Vec<TokenType>,
    scores: Vec<f32>,
}

impl Slots {
    fn new(n_vocab: usize) -> Self {
        Self {
            texts: (0..n_vocab).map(padding_text).collect(),
            types: vec![TokenType::Unused; n_vocab],
            scores: vec![PADDING_SCORE; n_vocab],
        }
    }

    /// Puts an added token at its id; one that is out of range is only reported.
    fn add(&mut self, id: u64, text: String, kind: TokenType, warnings: &mut Vec<String>) {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        if index >= self.texts.len() {
            warnings.push(format!(
                "added token {id} is outside the vocabulary of {} tokens and is left out",
                self.texts.len()
            ));
            return;
        }
        if self.types[index] != TokenType::Unused && self.texts[index] != text {
            warnings.push(format!(
                "token {id}: {:?} gives way to {text:?}",
                self.texts[index]
            ));
        }
        self.texts[index] = text;
        self.types[index] = kind;
        self.scores[index] = ADDED_SCORE;
    }
}

/// `added_tokens.json`: texts with their ids.
fn added_tokens(files: &VocabFiles, slots: &mut Slots, warnings: &mut Vec<String>) -> Result<()> {
    let path = files.dir.join("added_tokens.json");
    let Some(document) = json_optional(&path)? else {
        return Ok(());
    };
    let Some(map) = document.as_object() else {
        return Err(input_error(&path, "expected an object of texts and ids"));
    };
    for (text, id) in map {
        let id = id
            .as_u64()
            .ok_or_else(|| input_error(&path, format!("the id of {text:?} is {id}")))?;
        slots.add(id, text.clone(), TokenType::UserDefined, warnings);
    }
    Ok(())
}

/// `added_tokens_decoder` of `tokenizer_config.json`: ids with their tokens.
fn added_tokens_decoder(files: &VocabFiles, slots: &mut Slots, warnings: &mut Vec<String>) -> Result<()> {
    let Some(decoder) = files
        .tokenizer_config("added_tokens_decoder")
        .and_then(Json::as_object)
    else {
        return Ok(());
    };
    let error = |message: String| input_error(&files.dir.join("tokenizer_config.json"), message);
    for (id, token) in decoder {
        let number: u64 = id
            .trim()
            .parse()
            .map_err(|_| error(format!("added_tokens_decoder has the id {id:?}")))?;
        let text = token
            .get("content")
            .and_then(Json::as_str)
            .ok_or_else(|| error(format!("added token {id} has no text `content`")))?;
        let special = token.get("special").and_then(Json::as_bool) == Some(true);
        if special || looks_special(text) {
            slots.add(number, text.to_owned(), TokenType::Control, warnings);
        } else {
            // Programs that read the GGUF look for these in text as it is.
            let text = text.replace('▁', " ");
            slots.add(number, text, TokenType::UserDefined, warnings);
        }
    }
    Ok(())
}
