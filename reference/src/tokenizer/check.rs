//! Consistency of the `tokenizer.*` keys, beyond what loading them demands.

use gguf::{Array, Metadata, Value};

use super::{Tokenizer, TokenizerKind};

/// Most problems of one kind that are told one by one.
const TOLD: usize = 3;

/// One inconsistency.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inconsistency {
    /// The key that has it.
    pub key: String,
    /// Finding and expectation.
    pub message: String,
    /// llama.cpp loads the file all the same, and does without the value.
    pub is_ignored: bool,
}

/// Keys of special tokens that llama.cpp's loader reads. An id outside of the vocabulary is a warning there, and the
/// vocabulary's own default counts.
const READ_IDS: [&str; 17] = [
    "bos",
    "eos",
    "eot",
    "eom",
    "unknown",
    "seperator",
    "padding",
    "mask",
    "fim_pre",
    "fim_suf",
    "fim_mid",
    "fim_pad",
    "fim_rep",
    "fim_sep",
    "prefix",
    "suffix",
    "middle",
];

/// The ids that llama.cpp has for a kind of vocabulary before it reads any.
fn default_id(model: &str, name: &str) -> Option<u64> {
    let ids: &[(&str, u64)] = match model {
        "llama" => &[("bos", 1), ("eos", 2), ("unknown", 0)],
        "bert" => &[
            ("bos", 101),
            ("unknown", 100),
            ("seperator", 102),
            ("padding", 0),
            ("mask", 103),
        ],
        "gpt2" => &[("bos", 11), ("eos", 11)],
        "t5" => &[("eos", 1), ("unknown", 2), ("padding", 0)],
        "plamo2" => &[("bos", 1), ("eos", 2), ("unknown", 0), ("padding", 3)],
        _ => &[],
    };
    ids.iter().find(|(of, _)| *of == name).map(|(_, id)| *id)
}

/// An id that is outside of a vocabulary of `n` tokens.
fn outside(
    metadata: &Metadata,
    tokenizer: Option<&Tokenizer>,
    name: &str,
    id: u64,
    n: u64,
) -> (String, bool) {
    let found = format!("token {id} of a vocabulary of {n}");
    if !READ_IDS.contains(&name) {
        return (format!("{found}; llama.cpp does not read this key"), true);
    }
    let model = metadata.get_str("tokenizer.ggml.model").unwrap_or_default();
    if let Some(default) = default_id(model, name).filter(|&default| default < n) {
        return (
            format!("{found}; llama.cpp takes its default {default} instead"),
            true,
        );
    }
    let is_put = tokenizer.is_some_and(|t| match name {
        "bos" => t.add_bos(),
        "eos" => t.add_eos(),
        "seperator" => t.kind() == TokenizerKind::WordPiece,
        _ => false,
    });
    match is_put {
        true => (
            format!(
                "{found}, and llama.cpp, which has no default for it, stops where it puts this token into a text"
            ),
            false,
        ),
        false => (format!("{found}; llama.cpp does without it"), true),
    }
}

/// Inconsistencies in the tokenizer of a model. Metadata without a tokenizer has nothing to check.
///
/// `embedded` is the number of rows of the token embeddings, where the model has them.
pub fn check(metadata: &Metadata, embedded: Option<u64>) -> Vec<Inconsistency> {
    match metadata.get_str("tokenizer.ggml.model") {
        Some("no_vocab" | "none") => return Vec::new(),
        None if metadata.get("tokenizer.ggml.model").is_none() => return Vec::new(),
        _ => {}
    }
    let mut found = Found(Vec::new());
    let n = match metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array(Array::String(tokens))) => tokens.len() as u64,
        _ => 0,
    };
    let tokenizer = match Tokenizer::from_metadata(metadata) {
        Ok(tokenizer) => Some(tokenizer),
        Err(e) => {
            let message = e.to_string();
            found.tell("tokenizer", message.trim_start_matches("tokenizer: ").to_owned());
            None
        }
    };
    for key in ["tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
        if let Some(Value::Array(values)) = metadata.get(key)
            && values.len() as u64 != n
        {
            found.tell(key, format!("{} values for {n} tokens", values.len()));
        }
    }
    special_ids(metadata, tokenizer.as_ref(), n, &mut found);
    if let Some(embedded) = embedded.filter(|&rows| rows != n && n > 0) {
        let message = format!("{n} tokens, but token_embd.weight has {embedded} rows");
        found.tell("tokenizer.ggml.tokens", message);
    }
    let template = metadata.get("tokenizer.chat_template");
    if template.is_some_and(|t| t.as_str().is_none()) {
        found.tell("tokenizer.chat_template", "not UTF-8 text".into());
    }
    if let Some(tokenizer) = tokenizer {
        match tokenizer.kind() {
            TokenizerKind::BytePair => merges(metadata, &tokenizer, &mut found),
            TokenizerKind::SentencePiece => bytes(&tokenizer, &mut found),
            _ => {}
        }
    }
    found.0
}

/// Inconsistencies so far.
struct Found(Vec<Inconsistency>);

impl Found {
    fn tell(&mut self, key: &str, message: String) {
        self.push(key, message, false);
    }

    fn push(&mut self, key: &str, message: String, is_ignored: bool) {
        self.0.push(Inconsistency {
            key: key.to_owned(),
            message,
            is_ignored,
        });
    }
}

/// Ids of special tokens in a vocabulary of `n`.
fn special_ids(metadata: &Metadata, tokenizer: Option<&Tokenizer>, n: u64, found: &mut Found) {
    for (key, value) in metadata.iter() {
        let name = key.strip_prefix("tokenizer.ggml.");
        let Some(name) = name.and_then(|name| name.strip_suffix("_token_id")) else {
            continue;
        };
        match value.as_u64() {
            Some(id) if id < n => {}
            Some(id) => {
                let (message, is_ignored) = outside(metadata, tokenizer, name, id, n);
                found.push(key, message, is_ignored);
            }
            None => found.tell(
                key,
                format!("a value of type {}, expected a token id", value.value_type()),
            ),
        }
    }
}

/// Merges whose results are no tokens.
fn merges(metadata: &Metadata, tokenizer: &Tokenizer, found: &mut Found) {
    const KEY: &str = "tokenizer.ggml.merges";
    let Some(Value::Array(Array::String(merges))) = metadata.get(KEY) else {
        return;
    };
    let mut unknown = merges.iter().filter_map(|merge| {
        let text = merge.to_str()?;
        // The blank after the first character divides; a part may begin with one.
        let at = text.char_indices().skip(1).find(|(_, c)| *c == ' ')?.0;
        let joined = [&text[..at], &text[at + 1..]].concat();
        let known = tokenizer.vocab.id(joined.as_bytes()).is_some();
        (!known).then(|| format!("{text:?} makes {joined:?}, which is no token"))
    });
    for message in unknown.by_ref().take(TOLD) {
        found.tell(KEY, message);
    }
    let more = unknown.count();
    if more > 0 {
        found.tell(KEY, format!("{more} more merges make no token"));
    }
}

/// Tokens of bytes: all or none.
fn bytes(tokenizer: &Tokenizer, found: &mut Found) {
    let missing = (0..=u8::MAX).filter(|&b| tokenizer.vocab.byte_id(b).is_none());
    let missing = missing.count();
    if missing > 0 && missing < 256 {
        let message = format!("{missing} of the 256 byte tokens <0x00> to <0xFF> are missing");
        found.tell("tokenizer.ggml.tokens", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let mut m = Metadata::new();
        m.set("tokenizer.ggml.model", "gpt2");
        m.set("tokenizer.ggml.pre", "gpt-2");
        m.set("tokenizer.ggml.tokens", vec!["a", "b", "ab", "<|end|>"]);
        m.set("tokenizer.ggml.token_type", vec![1i32, 1, 1, 3]);
        m.set("tokenizer.ggml.merges", vec!["a b"]);
        m.set("tokenizer.ggml.eos_token_id", 3u32);
        m
    }

    fn problems(change: impl FnOnce(&mut Metadata)) -> String {
        let mut m = metadata();
        change(&mut m);
        let found = check(&m, Some(4));
        found
            .iter()
            .map(|f| {
                let severity = if f.is_ignored { "ignored: " } else { "" };
                format!("{severity}{}: {}\n", f.key, f.message)
            })
            .collect()
    }

    #[test]
    fn a_consistent_tokenizer_has_no_problem() {
        assert_eq!(problems(|_| {}), "");
        assert!(check(&Metadata::new(), None).is_empty());
    }

    #[test]
    fn special_ids_beyond_the_vocabulary() {
        let found = problems(|m| m.set("tokenizer.ggml.bos_token_id", 4u32));
        assert_eq!(
            found,
            "ignored: tokenizer.ggml.bos_token_id: token 4 of a vocabulary of 4; llama.cpp does without it\n"
        );
        let found = problems(|m| {
            m.set("tokenizer.ggml.bos_token_id", 4u32);
            m.set("tokenizer.ggml.add_bos_token", true);
        });
        assert!(
            found.starts_with("tokenizer.ggml.bos_token_id: token 4 of a vocabulary of 4, and llama.cpp"),
            "{found}"
        );
        let found = problems(|m| m.set("tokenizer.ggml.cls_token_id", 9u32));
        assert!(
            found.contains("ignored: ") && found.contains("does not read this key"),
            "{found}"
        );
        let found = problems(|m| {
            m.set("tokenizer.ggml.tokens", vec!["a"; 12]);
            m.set("tokenizer.ggml.token_type", vec![1i32; 12]);
            m.set("tokenizer.ggml.eos_token_id", 12u32);
        });
        assert!(
            found.contains("llama.cpp takes its default 11 instead"),
            "{found}"
        );
        let found = problems(|m| m.set("tokenizer.ggml.bos_token_id", "1"));
        assert!(found.contains("type str"), "{found}");
    }

    #[test]
    fn lists_of_other_lengths() {
        let found = problems(|m| m.set("tokenizer.ggml.token_type", vec![1i32; 5]));
        assert!(found.contains("5 values for 4 tokens"), "{found}");
        assert!(!check(&metadata(), Some(5)).is_empty());
    }

    #[test]
    fn merges_that_make_no_token() {
        let found = problems(|m| m.set("tokenizer.ggml.merges", vec!["a b", "b a"]));
        assert!(found.contains("\"ba\", which is no token"), "{found}");
    }

    #[test]
    fn tokens_of_the_wrong_element_type() {
        let found = problems(|m| m.set("tokenizer.ggml.tokens", vec![1u32, 2, 3]));
        assert!(found.contains("tokenizer.ggml.tokens"), "{found}");
    }
}
