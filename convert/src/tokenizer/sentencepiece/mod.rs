//! The vocabulary of a SentencePiece `tokenizer.model`, with the tokens that other files of the
//! directory add to it or put in place of its own.

mod fast;
mod proto;

use std::path::Path;

use serde_json::Value as Json;

use super::files::{MAX_TOKENS, MAX_VOCAB_BYTES, SIZE_KEYS, VocabFiles, json_optional, read_optional};
use super::tokens::{NO_SCORE, PADDING_SCORE, TokenList, TokenType, looks_special, padding_text};
use crate::{Error, Result};
pub(super) use fast::is_sentencepiece;
pub(super) use proto::{Algorithm, Normalizer};
use proto::{BoundPieces, PieceType};

/// The file's name.
pub(super) const FILE: &str = "tokenizer.model";

/// Pieces that SentencePiece has for itself: what it does not know, and the ends of a text.
pub(super) const SPECIAL_PIECES: usize = 3;

/// A model file.
pub(super) struct Model {
    pieces: Vec<proto::Piece>,
    pub(super) algorithm: Algorithm,
    pub(super) normalizer: Normalizer,
    bound_pieces: BoundPieces,
}

/// Ids of the pieces that a model keeps for itself, where it has them.
pub(super) struct Bounds {
    pub(super) unknown: Option<u32>,
    pub(super) begin: Option<u32>,
    pub(super) end: Option<u32>,
    pub(super) padding: Option<u32>,
}

impl Model {
    pub(super) fn read(files: &VocabFiles, name: &str) -> Result<Self> {
        let path = files.dir.join(name);
        let bytes = read_optional(&path, MAX_VOCAB_BYTES)?
            .ok_or_else(|| Error::input(&path, "expected this file, found none"))?;
        let error = |e: proto::ProtoError| Error::input(&path, e.to_string());
        Ok(Self {
            pieces: proto::pieces(&bytes, MAX_TOKENS).map_err(error)?,
            algorithm: proto::algorithm(&bytes).map_err(error)?,
            normalizer: proto::normalizer(&bytes).map_err(error)?,
            bound_pieces: proto::bound_pieces(&bytes).map_err(error)?,
        })
    }

    /// The model of [`FILE`] or, without that, of `tokenizer.json`.
    fn read_any(files: &VocabFiles) -> Result<Self> {
        match has_file(files) {
            true => Self::read(files, FILE),
            false => fast::model(files),
        }
    }

    /// Where those pieces are: a piece of another type under such a name does not count.
    pub(super) fn bounds(&self) -> Bounds {
        let find = |name: &str, kind: PieceType| {
            let at = self.pieces.iter().position(|piece| piece.text == name)?;
            (self.pieces[at].kind == kind).then_some(at as u32)
        };
        let names = &self.bound_pieces;
        Bounds {
            unknown: find(&names.unknown, PieceType::Unknown),
            begin: find(&names.begin, PieceType::Control),
            end: find(&names.end, PieceType::Control),
            padding: find(&names.padding, PieceType::Control),
        }
    }

    pub(super) fn n_pieces(&self) -> usize {
        self.pieces.len()
    }

    /// The pieces, cut or padded to `n_vocab`.
    pub(super) fn take_tokens(&mut self, n_vocab: usize) -> Slots {
        Slots::of_pieces(std::mem::take(&mut self.pieces), n_vocab)
    }
}

/// The number of pieces of [`FILE`] in a directory.
pub(super) fn count(dir: &Path) -> Result<u64> {
    let path = dir.join(FILE);
    let bytes = read_optional(&path, MAX_VOCAB_BYTES)?
        .ok_or_else(|| Error::input(&path, "expected this file, found none"))?;
    let pieces = proto::pieces(&bytes, MAX_TOKENS).map_err(|e| Error::input(&path, e.to_string()))?;
    Ok(pieces.len() as u64)
}

pub(super) fn has_file(files: &VocabFiles) -> bool {
    files.dir.join(FILE).is_file()
}

/// Keys of the configured size of a vocabulary. The first one is Gemma 3n's.
pub(super) const PIECES_SIZE_KEYS: &[&str] = &["vocab_size_per_layer_input", "vocab_size"];

/// The tokens, as many as the model needs, and how many there are in the directory's files.
pub(super) fn tokens(files: &VocabFiles, warnings: &mut Vec<String>) -> Result<(TokenList, usize)> {
    let Model { pieces, .. } = Model::read_any(files)?;
    let n_vocab = wanted(files, PIECES_SIZE_KEYS, pieces.len(), warnings)?;
    let mut slots = Slots::of_pieces(pieces, n_vocab);
    added_tokens(files, &mut slots, warnings)?;
    added_tokens_decoder(files, &mut slots, warnings)?;
    let own = slots.own;
    Ok((slots.list(), own))
}

/// Whether a directory says that no space precedes a text, where `tokenizer.json` alone says so.
pub(super) fn without_space_prefix(files: &VocabFiles) -> bool {
    !has_file(files)
        && files
            .tokenizer_json()
            .is_some_and(|tokenizer| !fast::puts_space_first(tokenizer))
}

/// The number of tokens to write. More pieces than that are cut where the configuration agrees with the embeddings,
/// as the stock converter does.
fn wanted(files: &VocabFiles, keys: &[&str], pieces: usize, warnings: &mut Vec<String>) -> Result<usize> {
    let n_vocab = files
        .vocab_size(keys, pieces)?
        .filter(|&n| n > 0)
        .unwrap_or(pieces);
    if pieces > n_vocab {
        if files.configured_size(keys)? != Some(n_vocab) {
            let message = format!("expected at most {n_vocab} tokens, found {pieces}");
            return Err(files.misfit(FILE, keys, pieces, &message));
        }
        warnings.push(format!(
            "the tokens of {FILE} from {n_vocab} on are left out ({})",
            files.sizes(keys, pieces)
        ));
    }
    Ok(n_vocab)
}

/// A vocabulary with the added tokens of every file.
pub(super) struct AllTokens {
    pub(super) tokens: TokenList,
    /// Number of those in the directory's files.
    pub(super) own: usize,
    /// Whether a space is put before a text.
    pub(super) add_dummy_prefix: bool,
    /// The id of `<|im_end|>`, where it is an added token.
    pub(super) end_of_turn: Option<u32>,
}

/// The tokens with those that `tokenizer_config.json` and `tokenizer.json` add, each as it is written there.
/// `internlm2`: as many as the model needs, `[UNUSED…]` as unused, and no text that begins with a NUL.
pub(super) fn all_tokens(
    files: &VocabFiles,
    internlm2: bool,
    warnings: &mut Vec<String>,
) -> Result<AllTokens> {
    let Model {
        pieces, normalizer, ..
    } = Model::read_any(files)?;
    let n_vocab = wanted(files, SIZE_KEYS, pieces.len(), warnings)?;
    let mut slots = Slots::of_pieces(pieces, n_vocab);
    if internlm2 {
        for (text, kind) in slots.texts.iter_mut().zip(&mut slots.types) {
            if text == "\0" {
                NUL_STAND_IN.clone_into(text);
            }
            if text.starts_with("[UNUSED") {
                *kind = TokenType::Unused;
            }
        }
    }
    added_tokens(files, &mut slots, warnings)?;
    let mut end_of_turn = None;
    let config = files
        .tokenizer_config("added_tokens_decoder")
        .and_then(Json::as_object);
    let mut listed: Vec<(Option<u64>, &Json)> = Vec::new();
    for (id, token) in config.into_iter().flatten() {
        listed.push((id.trim().parse().ok(), token));
    }
    let in_tokenizer = files.tokenizer_json().and_then(|t| t.added_tokens.as_ref());
    for token in in_tokenizer.into_iter().flatten() {
        listed.push((token.get("id").and_then(Json::as_u64), token));
    }
    for (id, token) in listed {
        let (Some(id), Some(text)) = (id, token.get("content").and_then(Json::as_str)) else {
            return Err(Error::input(
                &files.dir,
                format!("expected an added token with id and text, found {token}"),
            ));
        };
        let special = token.get("special").and_then(Json::as_bool) == Some(true);
        if text == END_OF_TURN {
            end_of_turn = u32::try_from(id).ok();
        }
        let kind = if special {
            TokenType::Control
        } else {
            TokenType::UserDefined
        };
        slots.add(id, text.to_owned(), kind, warnings);
    }
    Ok(AllTokens {
        own: slots.own,
        tokens: slots.list(),
        add_dummy_prefix: normalizer.add_dummy_prefix,
        end_of_turn,
    })
}

/// End of a turn of a chat in InternLM 2.
const END_OF_TURN: &str = "<|im_end|>";
/// The tokens, of which those in `added_tokens_decoder` of `tokenizer_config.json` are what it says, whatever piece has
/// their id (Arctic).
pub(super) fn redefined(files: &VocabFiles, warnings: &mut Vec<String>) -> Result<(TokenList, usize)> {
    let Model { pieces, .. } = Model::read_any(files)?;
    let n_vocab = wanted(files, SIZE_KEYS, pieces.len(), warnings)?;
    let mut slots = Slots::of_pieces(pieces, n_vocab);
    let path = files.dir.join("tokenizer_config.json");
    let unknown = files.tokenizer_config("unk_token").and_then(Json::as_str);
    let decoder = files
        .tokenizer_config("added_tokens_decoder")
        .and_then(Json::as_object);
    for (id, token) in decoder.into_iter().flatten() {
        let number = id.trim().parse::<u64>();
        let number = number.map_err(|_| {
            Error::input(
                &path,
                format!("added_tokens_decoder: expected numbers as ids, found {id:?}"),
            )
        })?;
        let text = token.get("content").and_then(Json::as_str);
        let text = text.ok_or_else(|| {
            Error::input(
                &path,
                format!("added token {number}: expected a text `content`, found none"),
            )
        })?;
        let (kind, score) = match token.get("special").and_then(Json::as_bool) {
            Some(true) if Some(text) == unknown => (TokenType::Unknown, 0.0),
            Some(true) => (TokenType::Control, 0.0),
            _ => (TokenType::UserDefined, PADDING_SCORE),
        };
        slots.add(number, text.to_owned(), kind, warnings);
        if let Some(slot) = usize::try_from(number).ok().and_then(|i| slots.scores.get_mut(i)) {
            *slot = score;
        }
    }
    let own = slots.own;
    Ok((slots.list(), own))
}

/// Stand-in for a NUL, which would end a text in C.
const NUL_STAND_IN: &str = "🐉";

/// Tokens by id, each a padding token until something takes its place.
pub(super) struct Slots {
    texts: Vec<String>,
    types: Vec<TokenType>,
    scores: Vec<f32>,
    /// Number of tokens, those that have no slot included.
    own: usize,
}

impl Slots {
    fn new(n_vocab: usize) -> Self {
        Self {
            texts: (0..n_vocab).map(padding_text).collect(),
            types: vec![TokenType::Unused; n_vocab],
            scores: vec![PADDING_SCORE; n_vocab],
            own: 0,
        }
    }

    /// The pieces of a model, cut or padded to `n_vocab`.
    fn of_pieces(pieces: Vec<proto::Piece>, n_vocab: usize) -> Self {
        let mut slots = Self::new(n_vocab);
        slots.own = pieces.len();
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
        slots
    }

    pub(super) fn list(self) -> TokenList {
        TokenList {
            texts: self.texts,
            types: self.types,
            scores: Some(self.scores),
        }
    }

    /// Puts an added token at its id; one that is out of range is only reported.
    fn add(&mut self, id: u64, text: String, kind: TokenType, warnings: &mut Vec<String>) {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        self.own = self.own.max(index.saturating_add(1));
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
        self.scores[index] = NO_SCORE;
    }
}

/// `added_tokens.json`: texts with their ids.
pub(super) fn added_tokens(files: &VocabFiles, slots: &mut Slots, warnings: &mut Vec<String>) -> Result<()> {
    let path = files.dir.join("added_tokens.json");
    let Some(document) = json_optional(&path)? else {
        return Ok(());
    };
    let Some(map) = document.as_object() else {
        return Err(Error::input(&path, "expected an object of texts and ids"));
    };
    for (text, id) in map {
        let id = id
            .as_u64()
            .ok_or_else(|| Error::input(&path, format!("{text:?}: expected an id, found {id}")))?;
        slots.add(id, text.clone(), TokenType::UserDefined, warnings);
    }
    Ok(())
}

/// `added_tokens_decoder` of `tokenizer_config.json`: ids with their tokens. Where all comes from `tokenizer.json`,
/// its own list of added tokens, from which `transformers` 4 made that key.
fn added_tokens_decoder(files: &VocabFiles, slots: &mut Slots, warnings: &mut Vec<String>) -> Result<()> {
    let name = "tokenizer_config.json";
    let error = |name: &str, message: String| Error::input(files.dir.join(name), message);
    let decoder = files
        .tokenizer_config("added_tokens_decoder")
        .and_then(Json::as_object);
    let mut listed: Vec<(u64, &Json)> = Vec::new();
    for (id, token) in decoder.into_iter().flatten() {
        let number = id.trim().parse();
        let number = number.map_err(|_| {
            error(
                name,
                format!("added_tokens_decoder: expected numbers as ids, found {id:?}"),
            )
        })?;
        listed.push((number, token));
    }
    if decoder.is_none() && !has_file(files) {
        let added = files.tokenizer_json().and_then(|t| t.added_tokens.as_ref());
        for token in added.into_iter().flatten() {
            let id = token.get("id").and_then(Json::as_u64);
            let id = id.ok_or_else(|| {
                error(
                    "tokenizer.json",
                    format!("expected an added token with an id, found {token}"),
                )
            })?;
            listed.push((id, token));
        }
    }
    for (number, token) in listed {
        let text = token.get("content").and_then(Json::as_str).ok_or_else(|| {
            error(
                name,
                format!("added token {number}: expected a text `content`, found none"),
            )
        })?;
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
