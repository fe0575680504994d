//! The vocabulary of a GGUF file, as the files of a tokenizer need it.

use gguf::{Array, GgufString, Metadata, Value as GgufValue};
use serde_json::{Map, Value, json};

use crate::tokenizer::{id_key, padding_text};

pub(super) const NORMAL: u64 = 1;
pub(super) const UNKNOWN: u64 = 2;
pub(super) const CONTROL: u64 = 3;
pub(super) const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;

/// Kinds of special tokens, in the order in which the converter looks for them.
pub(super) const SPECIAL: [&str; 7] = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];

/// Tokens with their types, and the other keys.
pub(super) struct Vocabulary<'a> {
    pub(super) tokens: &'a [GgufString],
    pub(super) kinds: Vec<u64>,
    pub(super) metadata: &'a Metadata,
}

impl<'a> Vocabulary<'a> {
    /// The vocabulary of a file.
    ///
    /// # Errors
    /// No tokens, or another number of types.
    pub(super) fn of(metadata: &'a Metadata) -> Result<Self, String> {
        let Some(Array::String(tokens)) = metadata
            .get("tokenizer.ggml.tokens")
            .and_then(GgufValue::as_array)
        else {
            return Err("tokenizer.ggml.tokens: expected a list of texts, found none".to_owned());
        };
        let kinds = match metadata
            .get("tokenizer.ggml.token_type")
            .and_then(GgufValue::as_array)
        {
            Some(Array::I32(kinds)) if kinds.len() == tokens.len() => kinds
                .iter()
                .map(|&k| u64::try_from(k).unwrap_or(NORMAL))
                .collect(),
            _ => {
                return Err(
                    "tokenizer.ggml.token_type: expected a number for each token, found others".to_owned(),
                );
            }
        };
        Ok(Self {
            tokens,
            kinds,
            metadata,
        })
    }
}

impl Vocabulary<'_> {
    /// The token that stands for a kind of [`SPECIAL`], `bos` and the like.
    pub(super) fn special(&self, kind: &str) -> Option<(usize, String)> {
        let name = id_key(kind).unwrap_or(kind);
        let id = self
            .metadata
            .get_u64(&format!("tokenizer.ggml.{name}_token_id"))?;
        let id = usize::try_from(id).ok()?;
        let text = self.tokens.get(id)?;
        Some((id, text.to_string_lossy().into_owned()))
    }

    pub(super) fn adds(&self, kind: &str) -> Option<bool> {
        self.metadata
            .get_bool(&format!("tokenizer.ggml.add_{kind}_token"))
    }

    /// Position of a key in the file.
    pub(super) fn place(&self, key: &str) -> Option<usize> {
        self.metadata.iter().position(|(k, _)| k == key)
    }

    /// Whether `add_sep_token` stands where the separator between two sequences in a template puts it.
    pub(super) fn separates(&self) -> bool {
        let place = |kind: &str| self.place(&format!("tokenizer.ggml.add_{kind}_token"));
        match (place("sep"), place("eos")) {
            (Some(sep), Some(eos)) => sep < eos,
            (sep, None) => sep.is_some(),
            (None, _) => false,
        }
    }

    pub(super) fn scores(&self) -> Result<&[f32], String> {
        match self
            .metadata
            .get("tokenizer.ggml.scores")
            .and_then(GgufValue::as_array)
        {
            Some(Array::F32(scores)) if scores.len() == self.tokens.len() => Ok(scores),
            _ => Err("tokenizer.ggml.scores: expected a number for each token, found others".to_owned()),
        }
    }

    /// Whether a token only fills the vocabulary up.
    pub(super) fn is_padding(&self, id: usize) -> bool {
        self.kinds[id] == UNUSED && self.tokens[id].to_string_lossy() == padding_text(id)
    }

    pub(super) fn is_added(&self, id: usize) -> bool {
        matches!(self.kinds[id], CONTROL | USER_DEFINED)
    }

    /// The entries of `added_tokens`.
    pub(super) fn added(&self) -> Vec<Value> {
        (0..self.tokens.len())
            .filter(|&id| self.is_added(id))
            .map(|id| {
                json!({
                    "id": id, "content": self.tokens[id].to_string_lossy(), "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false,
                    "special": self.kinds[id] == CONTROL,
                })
            })
            .collect()
    }

    /// Template that adds BOS and EOS, where one does.
    pub(super) fn template(&self) -> Option<Value> {
        let of = |kind: &str| self.special(kind).filter(|_| self.adds(kind) == Some(true));
        let (bos, eos) = (of("bos"), of("eos"));
        if bos.is_none() && eos.is_none() {
            return None;
        }
        let token = |special: &Option<(usize, String)>| {
            let piece = |(_, text): &(usize, String)| json!({"SpecialToken": {"id": text, "type_id": 0}});
            special.as_ref().map(piece)
        };
        let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        let (first, last) = (token(&bos), token(&eos));
        let single: Vec<Value> = [first.clone(), Some(sequence("A")), last.clone()]
            .into_iter()
            .flatten()
            .collect();
        let between = first.clone().filter(|_| self.separates());
        let pair: Vec<Value> = [first, Some(sequence("A")), between, Some(sequence("B")), last]
            .into_iter()
            .flatten()
            .collect();
        let known: Map<String, Value> = [&bos, &eos]
            .into_iter()
            .flatten()
            .map(|(id, text)| (text.clone(), json!({"id": text, "ids": [id], "tokens": [text]})))
            .collect();
        Some(json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known}))
    }
}
