//! The tokenizer's files, from the `tokenizer.*` keys.

use gguf::{Array, GgufString, Metadata, Value as GgufValue};
use serde_json::{Map, Value, json};

use super::Family;
use super::sentencepiece::{Ids, Piece, model};

const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;

/// Kinds of special tokens in their order, with their names in keys.
const SPECIAL: [(&str, &str); 7] = [
    ("bos", "bos"),
    ("eos", "eos"),
    ("unk", "unknown"),
    ("sep", "seperator"),
    ("pad", "padding"),
    ("cls", "cls"),
    ("mask", "mask"),
];

/// How Llama 3 and Qwen2 cut text into words, but for the length of a run of digits.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How Mistral's Tekken does.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

struct Vocabulary<'a> {
    tokens: &'a [GgufString],
    kinds: Vec<u64>,
    metadata: &'a Metadata,
}

/// The files of a vocabulary.
///
/// # Errors
/// A tokenizer model or pre-tokenizer that cannot be exported, or malformed keys.
pub(super) fn files(
    metadata: &Metadata,
    family: &Family,
    warnings: &mut Vec<String>,
) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    let Some(Array::String(tokens)) = metadata
        .get("tokenizer.ggml.tokens")
        .and_then(GgufValue::as_array)
    else {
        return Err("no tokens in it (tokenizer.ggml.tokens)".to_owned());
    };
    let kinds = match metadata
        .get("tokenizer.ggml.token_type")
        .and_then(GgufValue::as_array)
    {
        Some(Array::I32(kinds)) if kinds.len() == tokens.len() => {
            kinds.iter().map(|&k| u64::try_from(k).unwrap_or(1)).collect()
        }
        _ => return Err("tokenizer.ggml.token_type does not fit the tokens".to_owned()),
    };
    let vocabulary = Vocabulary {
        tokens,
        kinds,
        metadata,
    };
    let (file, class) = match metadata.get_str("tokenizer.ggml.model") {
        Some("gpt2") => (
            ("tokenizer.json", super::json(&vocabulary.byte_level()?)),
            family.tokenizer_class,
        ),
        Some("llama") => (
            ("tokenizer.model", vocabulary.sentencepiece(warnings)?),
            "LlamaTokenizer",
        ),
        other => return Err(format!("tokenizer model {other:?} cannot be exported")),
    };
    Ok(vec![
        file,
        ("tokenizer_config.json", super::json(&vocabulary.config(class))),
    ])
}

impl Vocabulary<'_> {
    fn special(&self, name: &str) -> Option<(u64, String)> {
        let id = self
            .metadata
            .get_u64(&format!("tokenizer.ggml.{name}_token_id"))?;
        let text = self.tokens.get(usize::try_from(id).ok()?)?;
        Some((id, text.to_string_lossy().into_owned()))
    }

    fn adds(&self, kind: &str) -> Option<bool> {
        self.metadata
            .get_bool(&format!("tokenizer.ggml.add_{kind}_token"))
    }

    /// Whether a token only fills the vocabulary up.
    fn is_padding(&self, id: usize) -> bool {
        self.kinds[id] == UNUSED && self.tokens[id].to_string_lossy() == format!("[PAD{id}]")
    }

    fn added(&self) -> Vec<Value> {
        let is_added = |id: &usize| matches!(self.kinds[*id], CONTROL | USER_DEFINED);
        (0..self.tokens.len())
            .filter(is_added)
            .map(|id| {
                json!({
                    "id": id, "content": self.tokens[id].to_string_lossy(), "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false,
                    "special": self.kinds[id] == CONTROL,
                })
            })
            .collect()
    }

    fn config(&self, class: &str) -> Value {
        let mut config = Map::new();
        let mut set = |key: String, value: Value| config.insert(key, value);
        for kind in ["bos", "eos"] {
            if let Some(add) = self.adds(kind) {
                set(format!("add_{kind}_token"), add.into());
            }
        }
        if let Some(add) = self.metadata.get_bool("tokenizer.ggml.add_space_prefix") {
            set("add_prefix_space".to_owned(), add.into());
        }
        let byte_level = class != "LlamaTokenizer";
        let decoder: Map<String, Value> = self
            .added()
            .into_iter()
            .filter_map(|mut token| {
                let id = token.as_object_mut()?.shift_remove("id")?;
                Some((id.to_string(), token))
            })
            .collect();
        if byte_level {
            set("added_tokens_decoder".to_owned(), Value::Object(decoder));
        }
        for (kind, name) in SPECIAL {
            if let Some((_, text)) = self.special(name) {
                set(format!("{kind}_token"), text.into());
            }
        }
        if let Some(template) = self.metadata.get_str("tokenizer.chat_template") {
            set("chat_template".to_owned(), template.into());
        }
        set("clean_up_tokenization_spaces".to_owned(), false.into());
        set("tokenizer_class".to_owned(), class.into());
        Value::Object(config)
    }

    /// `tokenizer.json` of a byte-level BPE.
    fn byte_level(&self) -> Result<Value, String> {
        let pre = self.metadata.get_str("tokenizer.ggml.pre").unwrap_or("default");
        let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let split = |pattern: &str| {
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                byte_level(false),
            ]})
        };
        let (pre_tokenizer, normalizer, ignore_merges) = match pre {
            "gpt-2" => (byte_level(true), Value::Null, false),
            "llama-bpe" => (split(&WORDS.replace("DIGITS", "{1,3}")), Value::Null, true),
            "qwen2" => (split(&WORDS.replace("DIGITS", "")), json!({"type": "NFC"}), false),
            "smollm" => (
                json!({"type": "Sequence", "pretokenizers": [
                    {"type": "Digits", "individual_digits": true}, byte_level(true),
                ]}),
                Value::Null,
                false,
            ),
            "tekken" => (split(TEKKEN), Value::Null, true),
            other => {
                return Err(format!(
                    "pre-tokenizer {other:?} cannot be exported; gpt-2, llama-bpe, qwen2, smollm and tekken can"
                ));
            }
        };
        let Some(Array::String(merges)) = self
            .metadata
            .get("tokenizer.ggml.merges")
            .and_then(GgufValue::as_array)
        else {
            return Err("no merges in it (tokenizer.ggml.merges)".to_owned());
        };
        let mut vocabulary = Map::new();
        for (id, token) in self.tokens.iter().enumerate() {
            let in_model = !matches!(self.kinds[id], CONTROL | USER_DEFINED) && !self.is_padding(id);
            let text = token.to_str().ok_or_else(|| format!("token {id} is not UTF-8"))?;
            if in_model && vocabulary.insert(text.to_owned(), id.into()).is_some() {
                return Err(format!("token {text:?} is in it twice"));
            }
        }
        let merges: Vec<Value> = merges.iter().map(|m| Value::from(m.to_string_lossy())).collect();
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": self.added(),
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": self.post_processor(),
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": ignore_merges, "vocab": vocabulary, "merges": merges,
            },
        }))
    }

    /// What adds BOS and EOS; `null` where flags in `tokenizer_config.json` say enough.
    fn post_processor(&self) -> Value {
        let of = |kind: &str| self.special(kind).filter(|_| self.adds(kind) == Some(true));
        let (bos, eos) = (of("bos"), of("eos"));
        match (self.adds("bos"), self.adds("eos")) {
            (Some(false), Some(false)) => {
                return json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
            }
            _ if bos.is_none() && eos.is_none() => return Value::Null,
            _ => {}
        }
        let token = |special: &Option<(u64, String)>| {
            let piece = |(_, text): &(u64, String)| json!({"SpecialToken": {"id": text, "type_id": 0}});
            special.as_ref().map(piece)
        };
        let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        let single: Vec<Value> = [token(&bos), Some(sequence("A")), token(&eos)]
            .into_iter()
            .flatten()
            .collect();
        // A separator of its own between two sequences tells the converter whether to write `add_sep_token`.
        let between = token(&bos).filter(|_| self.adds("sep").is_some());
        let pair: Vec<Value> = [
            token(&bos),
            Some(sequence("A")),
            between,
            Some(sequence("B")),
            token(&eos),
        ]
        .into_iter()
        .flatten()
        .collect();
        let known: Map<String, Value> = [&bos, &eos]
            .into_iter()
            .flatten()
            .map(|(id, text)| (text.clone(), json!({"id": text, "ids": [id], "tokens": [text]})))
            .collect();
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known})
    }

    /// `tokenizer.model`.
    fn sentencepiece(&self, warnings: &mut Vec<String>) -> Result<Vec<u8>, String> {
        let scores = match self
            .metadata
            .get("tokenizer.ggml.scores")
            .and_then(GgufValue::as_array)
        {
            Some(Array::F32(scores)) if scores.len() == self.tokens.len() => scores,
            _ => return Err("tokenizer.ggml.scores does not fit the tokens".to_owned()),
        };
        let last = (0..self.tokens.len()).rev().find(|&id| !self.is_padding(id));
        let count = last.map_or(0, |id| id + 1);
        let ordinary = |id: &usize| self.kinds[*id] == 1;
        let mut ranked = (0..count).filter(ordinary).map(|id| scores[id]);
        if let Some(first) = ranked.next()
            && ranked.all(|s| s == first)
        {
            warnings.push(
                "all tokens have one score: the file was made of a tokenizer.json whose merges it does not \
                 hold, so that text is not cut as the original cut it"
                    .to_owned(),
            );
        }
        let pieces: Vec<Piece<'_>> = (0..count)
            .map(|id| Piece {
                text: &self.tokens[id].0,
                score: scores[id],
                kind: self.kinds[id],
            })
            .collect();
        let id = |name: &str| self.special(name).map_or(-1, |(id, _)| id as i64);
        let unknown = pieces.iter().position(|p| p.kind == UNKNOWN);
        let ids = Ids {
            unknown: unknown.map_or(0, |id| id as i64),
            bos: id("bos"),
            eos: id("eos"),
            pad: id("padding"),
        };
        let prefix = self.metadata.get_bool("tokenizer.ggml.add_space_prefix");
        Ok(model(&pieces, &ids, prefix.unwrap_or(true)))
    }
}
