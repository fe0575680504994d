//! The tokenizer's files, from the `tokenizer.*` keys.

use gguf::{Array, Metadata, Value as GgufValue};
use serde_json::{Map, Value, json};

use super::vocabulary::{CONTROL, SPECIAL, USER_DEFINED, Vocabulary};
use super::{Family, byte_fallback, byte_level, sentencepiece};
use crate::tokenizer::{NO_SCORE, id_key, looks_special};

/// Form of an exported tokenizer: `tokenizer.json` or `tokenizer.model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ByteLevel,
    /// Merges of characters, with tokens for bytes: the GGUF file holds no ranks.
    ByteFallback,
    SentencePiece,
}

/// An exported tokenizer.
pub(super) struct Exported {
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// Keys of `config.json` that name token ids.
    pub(super) ids: Map<String, Value>,
}

/// The files of a vocabulary.
///
/// # Errors
/// A tokenizer model or pre-tokenizer that cannot be exported, or malformed keys.
pub(super) fn export(
    metadata: &Metadata,
    family: &Family,
    warnings: &mut Vec<String>,
) -> Result<Exported, String> {
    let vocabulary = Vocabulary::of(metadata)?;
    let (kind, file) = match metadata.get_str("tokenizer.ggml.model") {
        Some("gpt2") => {
            let document = byte_level::document(&vocabulary)?;
            (Kind::ByteLevel, ("tokenizer.json", super::json(&document)))
        }
        Some("llama") => {
            let scores = vocabulary.scores()?;
            if scores.iter().all(|&s| s == NO_SCORE) {
                warnings.push(
                    "the file was made of a tokenizer.json and does not hold its merges; they are worked out \
                     from the order of the tokens"
                        .to_owned(),
                );
                let document = byte_fallback::document(&vocabulary)?;
                (Kind::ByteFallback, ("tokenizer.json", super::json(&document)))
            } else {
                let model = sentencepiece::file(&vocabulary, scores);
                (Kind::SentencePiece, ("tokenizer.model", model))
            }
        }
        other => {
            return Err(format!(
                "tokenizer.ggml.model: expected gpt2 or llama, which can be exported, found {other:?}"
            ));
        }
    };
    let class = match kind {
        Kind::SentencePiece => "LlamaTokenizer",
        Kind::ByteFallback => "PreTrainedTokenizerFast",
        Kind::ByteLevel => family.tokenizer_class,
    };
    let named = vocabulary.named(kind);
    let config = super::json(&vocabulary.config(class, kind, &named));
    let mut files = vec![file, ("tokenizer_config.json", config)];
    let plain = vocabulary.plain_added();
    if kind == Kind::SentencePiece && !plain.is_empty() {
        files.push(("added_tokens.json", super::json(&Value::Object(plain))));
    }
    Ok(Exported {
        files,
        ids: vocabulary.ids(kind, &named),
    })
}

impl Vocabulary<'_> {
    /// The special tokens that `tokenizer_config.json` names; the others only `config.json` does.
    ///
    /// Naming a token makes it a control token. The converter takes those of the tokenizer before those of
    /// `config.json`, so that a file which has them in another order was made of names in both.
    fn named(&self, kind: Kind) -> Vec<(&'static str, String)> {
        if kind == Kind::SentencePiece {
            let texts = SPECIAL.iter().map(|&k| (k, self.special(k)));
            return texts.filter_map(|(k, s)| Some((k, s?.1))).collect();
        }
        let mut found: Vec<(usize, usize, &'static str)> = SPECIAL
            .iter()
            .enumerate()
            .filter_map(|(rank, &k)| {
                let key = format!("tokenizer.ggml.{}_token_id", id_key(k)?);
                Some((self.place(&key)?, rank, k))
            })
            .collect();
        found.sort_unstable();
        let mut named = Vec::new();
        let mut last = None;
        for (_, rank, k) in found {
            match self.special(k) {
                Some((id, text)) if self.kinds[id] == CONTROL && last.is_none_or(|l| l < rank) => {
                    named.push((k, text));
                    last = Some(rank);
                }
                _ => break,
            }
        }
        named
    }

    fn ids(&self, kind: Kind, named: &[(&'static str, String)]) -> Map<String, Value> {
        let known = |k: &str| kind != Kind::SentencePiece && named.iter().any(|(n, _)| *n == k);
        SPECIAL
            .into_iter()
            .filter(|&k| matches!(k, "bos" | "eos" | "pad") || !known(k))
            .filter_map(|k| Some((format!("{k}_token_id"), self.special(k)?.0.into())))
            .collect()
    }

    fn config(&self, class: &str, kind: Kind, named: &[(&'static str, String)]) -> Value {
        let mut config = Map::new();
        let mut set = |key: String, value: Value| config.insert(key, value);
        for kind in ["bos", "eos", "sep"] {
            if let Some(add) = self.adds(kind) {
                set(format!("add_{kind}_token"), add.into());
            }
        }
        if let Some(add) = self.metadata.get_bool("tokenizer.ggml.add_space_prefix") {
            set("add_prefix_space".to_owned(), add.into());
        }
        let decoder: Map<String, Value> = self
            .added()
            .into_iter()
            .filter_map(|mut token| {
                let id = token.as_object_mut()?.shift_remove("id")?;
                let listed =
                    kind != Kind::SentencePiece || self.is_outside(usize::try_from(id.as_u64()?).ok()?);
                listed.then_some((id.to_string(), token))
            })
            .collect();
        set("added_tokens_decoder".to_owned(), Value::Object(decoder));
        for (kind, text) in named {
            set(format!("{kind}_token"), text.as_str().into());
        }
        if kind == Kind::ByteFallback {
            // Only a token that is named somewhere is a control token.
            let others: Vec<Value> = (0..self.tokens.len())
                .filter(|&id| self.kinds[id] == CONTROL)
                .map(|id| self.tokens[id].to_string_lossy())
                .filter(|text| named.iter().all(|(_, n)| n != text))
                .map(Value::from)
                .collect();
            if !others.is_empty() {
                set("additional_special_tokens".to_owned(), others.into());
            }
        }
        if let Some(template) = self.chat_template() {
            set("chat_template".to_owned(), template);
        }
        set("clean_up_tokenization_spaces".to_owned(), false.into());
        if kind == Kind::SentencePiece {
            // As the GGUF file's readers have it: a space after a special token is a space.
            set("legacy".to_owned(), true.into());
        }
        set("tokenizer_class".to_owned(), class.into());
        Value::Object(config)
    }

    /// Whether a token of a SentencePiece vocabulary was added to it by `tokenizer_config.json`.
    fn is_outside(&self, id: usize) -> bool {
        let scores = self.scores().unwrap_or_default();
        match self.kinds[id] {
            USER_DEFINED => !self.is_plain(id),
            _ => scores.get(id).is_some_and(|&s| s == NO_SCORE),
        }
    }

    /// Whether a token is like a control token and is none: `tokenizer_config.json` would make it one.
    fn is_plain(&self, id: usize) -> bool {
        self.kinds[id] == USER_DEFINED && looks_special(&self.tokens[id].to_string_lossy())
    }

    /// `added_tokens.json`, for tokens that no other file can hold as they are.
    fn plain_added(&self) -> Map<String, Value> {
        (0..self.tokens.len())
            .filter(|&id| self.is_plain(id))
            .map(|id| (self.tokens[id].to_string_lossy().into_owned(), id.into()))
            .collect()
    }

    /// The template, or a list of those with names.
    fn chat_template(&self) -> Option<Value> {
        let default = self.metadata.get_str("tokenizer.chat_template");
        let names = match self
            .metadata
            .get("tokenizer.chat_templates")
            .and_then(GgufValue::as_array)
        {
            Some(Array::String(names)) => names.as_slice(),
            _ => return default.map(Value::from),
        };
        let mut list: Vec<Value> = names
            .iter()
            .filter_map(|name| {
                let name = name.to_string_lossy();
                let key = format!("tokenizer.chat_template.{name}");
                let text = self.metadata.get_str(&key)?;
                Some(json!({"name": name, "template": text}))
            })
            .collect();
        list.extend(default.map(|text| json!({"name": "default", "template": text})));
        Some(Value::Array(list))
    }
}
