//! The token list of each kind of vocabulary.

use gguf::{Array, GgufString, Metadata, Value};

use super::files::{SIZE_KEYS, VocabFiles};
use super::hf::HfTokenizer;
use super::keys::{SCORES, TOKEN_TYPE, TOKENS};
use crate::Result;

/// The type of a token; the value is what `tokenizer.ggml.token_type` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum TokenType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// Adds control tokens of these texts behind a vocabulary's own.
pub(crate) fn add_control_tokens(metadata: &mut Metadata, texts: Vec<String>) {
    let count = texts.len();
    if let Some(Value::Array(Array::F32(scores))) = metadata.get_mut(SCORES) {
        scores.extend(std::iter::repeat_n(0.0, count));
    }
    if let Some(Value::Array(Array::I32(types))) = metadata.get_mut(TOKEN_TYPE) {
        types.extend(std::iter::repeat_n(TokenType::Control as i32, count));
    }
    if let Some(Value::Array(Array::String(tokens))) = metadata.get_mut(TOKENS) {
        tokens.extend(texts.into_iter().map(Into::into));
    }
}

/// Tokens with their types and, where a kind has them, scores.
#[derive(Debug, Default)]
pub(super) struct TokenList {
    pub(super) texts: Vec<String>,
    pub(super) types: Vec<TokenType>,
    pub(super) scores: Option<Vec<f32>>,
}

impl TokenList {
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Makes tokens with these texts no control tokens.
    pub(super) fn show(&mut self, shown: &[&str]) {
        for (text, kind) in self.texts.iter().zip(&mut self.types) {
            if shown.contains(&text.as_str()) {
                *kind = TokenType::UserDefined;
            }
        }
    }

    /// Writes what comes first in most kinds: model, pre-tokenizer, tokens.
    pub(super) fn write_as(self, metadata: &mut Metadata, model: &str, pre: &str) {
        metadata.set_in_place("tokenizer.ggml.model", model);
        metadata.set_in_place("tokenizer.ggml.pre", pre);
        self.write(metadata);
    }

    pub(super) fn write(self, metadata: &mut Metadata) {
        let texts: Vec<GgufString> = self.texts.into_iter().map(GgufString::from).collect();
        metadata.set_in_place(TOKENS, Value::from(texts));
        if let Some(scores) = self.scores {
            metadata.set_in_place(SCORES, Value::from(scores));
        }
        let types: Vec<i32> = self.types.into_iter().map(|t| t as i32).collect();
        metadata.set_in_place(TOKEN_TYPE, Value::from(types));
    }
}

/// The score of an id that no token has.
pub(super) const PADDING_SCORE: f32 = -10000.0;

/// The text of an id that no token has.
pub(crate) fn padding_text(id: usize) -> String {
    format!("[PAD{id}]")
}

/// Whether an added token that is not marked as special should have been.
pub(crate) fn looks_special(text: &str) -> bool {
    let between = |open: &str, close: &str| text.starts_with(open) && text.ends_with(close);
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
}

/// The file of a vocabulary of the `tokenizers` library.
const JSON: &str = "tokenizer.json";

/// Leaves out the added tokens from id `n_vocab` on, with a warning: the model has no embedding for them and
/// cannot see them.
///
/// # Errors
/// One of those is no added token: then this is not the model's tokenizer.
fn leave_out(files: &VocabFiles, hf: &HfTokenizer, n_vocab: usize, warnings: &mut Vec<String>) -> Result<()> {
    let (by_id, added) = (hf.by_id(), hf.added());
    let Ok(first) = u32::try_from(n_vocab) else {
        return Ok(());
    };
    let own = by_id.keys().next_back().map_or(0, |&id| id as usize + 1);
    let outside = by_id.range(first..);
    if let Some((id, text)) = outside.clone().rev().find(|(id, _)| !added.contains_key(id)) {
        let message = format!("token id {id} ({text:?}) is outside the vocabulary of {n_vocab} tokens");
        return Err(files.misfit(JSON, SIZE_KEYS, own, &message));
    }
    let outside: Vec<String> = outside.map(|(id, text)| format!("{id} ({text:?})")).collect();
    if !outside.is_empty() {
        warnings.push(format!(
            "added tokens outside the vocabulary of {n_vocab} tokens are left out: {} ({})",
            crate::recipe::summarize(&outside),
            files.sizes(SIZE_KEYS, own),
        ));
    }
    Ok(())
}

/// The tokens of a byte-level vocabulary, up to the model's vocabulary size. With `as_marked`, added tokens are taken as
/// they are written and as special as they are marked.
pub(super) fn byte_level(
    files: &VocabFiles,
    hf: &HfTokenizer,
    as_marked: bool,
    warnings: &mut Vec<String>,
) -> Result<TokenList> {
    let by_id = hf.by_id();
    let added = hf.added();
    let n_known = by_id.keys().next_back().map_or(0, |&id| id as usize + 1);
    let n_vocab = match files.vocab_size(SIZE_KEYS, n_known)? {
        Some(n) => n,
        None => hf.inner().get_vocab_size(true),
    };
    leave_out(files, hf, n_vocab, warnings)?;
    let mut list = TokenList::default();
    for id in 0..n_vocab {
        let Some(text) = by_id.get(&(id as u32)) else {
            list.texts.push(padding_text(id));
            list.types.push(TokenType::Unused);
            continue;
        };
        let Some(token) = added.get(&(id as u32)) else {
            list.texts.push(text.clone());
            list.types.push(TokenType::Normal);
            continue;
        };
        // Programs that read the GGUF look for added tokens in text as it is, so one that is matched
        // before normalization is stored as its own encoding says it.
        let mut text = if token.normalized || as_marked {
            text.clone()
        } else {
            hf.round_trip(files, text)?
        };
        if token.special || !as_marked && looks_special(&text) {
            list.types.push(TokenType::Control);
        } else {
            if !as_marked {
                text = text.replace('▁', " ");
            }
            list.types.push(TokenType::UserDefined);
        }
        list.texts.push(text);
    }
    Ok(list)
}

/// Word pieces as GGUF has them: a piece that begins a word is marked with `▁`, one that continues it is not.
pub(super) fn word_pieces(mut list: TokenList) -> TokenList {
    for (text, kind) in list.texts.iter_mut().zip(&list.types) {
        if *kind == TokenType::Control {
            continue;
        }
        *text = match text.strip_prefix("##") {
            Some(rest) => rest.to_owned(),
            None => format!("▁{text}"),
        };
    }
    list
}

/// The score of every token that has none of its own.
pub(crate) const NO_SCORE: f32 = -1000.0;

/// The tokens of a byte-fallback vocabulary: those of the model, then the added ones after them. Where that makes
/// another number of tokens than the embeddings have rows, each token is put under its id.
pub(super) fn llama_hf(
    files: &VocabFiles,
    hf: &HfTokenizer,
    warnings: &mut Vec<String>,
) -> Result<TokenList> {
    let list = llama_hf_in_order(hf);
    let Some(rows) = files.rows.filter(|&rows| rows != list.len()) else {
        return Ok(list);
    };
    files.vocab_size(SIZE_KEYS, list.len())?;
    leave_out(files, hf, rows, warnings)?;
    let (by_id, added) = (hf.by_id(), hf.added());
    let mut list = TokenList::default();
    for id in 0..rows {
        let (text, kind) = match by_id.get(&(id as u32)) {
            None => (padding_text(id), TokenType::Unused),
            Some(text) if is_byte_token(text) => (text.clone(), TokenType::Byte),
            Some(text) if hf.is_special(text) => (text.clone(), TokenType::Control),
            Some(text) if id >= hf.base_size() && added.contains_key(&(id as u32)) => {
                (text.clone(), TokenType::UserDefined)
            }
            Some(text) => (text.clone(), TokenType::Normal),
        };
        list.texts.push(text);
        list.types.push(kind);
    }
    list.scores = Some(vec![NO_SCORE; list.len()]);
    Ok(list)
}

fn llama_hf_in_order(hf: &HfTokenizer) -> TokenList {
    let by_id = hf.by_id();
    let base = hf.base_size();
    let mut list = TokenList::default();
    let own_type = |text: &str| {
        if hf.is_special(text) {
            TokenType::Control
        } else {
            TokenType::Normal
        }
    };
    for id in 0..base {
        let Some(text) = by_id.get(&(id as u32)) else {
            list.texts.push(padding_text(id));
            list.types.push(TokenType::Unused);
            continue;
        };
        list.types.push(if is_byte_token(text) {
            TokenType::Byte
        } else {
            own_type(text)
        });
        list.texts.push(text.clone());
    }
    for (id, token) in hf.added() {
        if (id as usize) < base {
            continue;
        }
        list.types.push(if hf.is_special(&token.content) {
            TokenType::Control
        } else {
            TokenType::UserDefined
        });
        list.texts.push(token.content);
    }
    list.scores = Some(vec![NO_SCORE; list.len()]);
    list
}

/// Every token of `tokenizer.json` under its id; there must be one for each. The token of a NUL byte, which
/// would end a text in C, is written in angle brackets.
pub(super) fn as_they_are(
    files: &VocabFiles,
    hf: &HfTokenizer,
    warnings: &mut Vec<String>,
) -> Result<TokenList> {
    let (by_id, added) = (hf.by_id(), hf.added());
    let n_vocab = files.vocab_size(SIZE_KEYS, by_id.len())?.unwrap_or(by_id.len());
    leave_out(files, hf, n_vocab, warnings)?;
    let mut list = TokenList::default();
    for id in 0..n_vocab {
        let text = u32::try_from(id).ok().and_then(|id| by_id.get(&id));
        let text = text.ok_or_else(|| {
            let message = format!("expected {n_vocab} tokens, found none of id {id}");
            files.misfit(JSON, SIZE_KEYS, by_id.len(), &message)
        })?;
        let (text, kind) = match added.get(&(id as u32)) {
            _ if text == "\0" => ("<b'\\x00'>".to_owned(), TokenType::Byte),
            _ if is_byte_token(text) => (text.clone(), TokenType::Byte),
            Some(token) if token.special => (text.clone(), TokenType::Control),
            Some(_) => (text.clone(), TokenType::UserDefined),
            None => (text.clone(), TokenType::Normal),
        };
        list.texts.push(text);
        list.types.push(kind);
    }
    Ok(list)
}

/// Whether a token stands for one byte: `<0x0A>`.
pub(super) fn is_byte_token(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    digits.is_some_and(|d| d.len() == 2 && d.bytes().all(|b| b.is_ascii_hexdigit()))
}
