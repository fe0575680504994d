//! Consistency of the `tokenizer.*` keys, beyond what loading them demands.

use gguf::{Array, Metadata, Value};

use super::{Tokenizer, TokenizerKind};

/// Most problems of one kind that are told one by one.
const TOLD: usize = 3;

/// Inconsistencies in the tokenizer of a model. Metadata without a tokenizer has nothing to check.
///
/// `embedded` is the number of rows of the token embeddings, where the model has them.
pub fn check(metadata: &Metadata, embedded: Option<u64>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut problem = |key: &str, message: String| found.push((key.to_owned(), message));
    match metadata.get_str("tokenizer.ggml.model") {
        Some("no_vocab" | "none") => return found,
        None if metadata.get("tokenizer.ggml.model").is_none() => return found,
        _ => {}
    }
    let tokens = match metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array(Array::String(tokens))) => tokens.as_slice(),
        _ => &[],
    };
    let n = tokens.len() as u64;
    let tokenizer = match Tokenizer::from_metadata(metadata) {
        Ok(tokenizer) => Some(tokenizer),
        Err(e) => {
            let message = e.to_string();
            problem("tokenizer", message.trim_start_matches("tokenizer: ").to_owned());
            None
        }
    };
    for key in ["tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
        if let Some(Value::Array(values)) = metadata.get(key)
            && values.len() as u64 != n
        {
            problem(key, format!("{} values for {n} tokens", values.len()));
        }
    }
    for (key, value) in metadata.iter() {
        let is_id = key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id");
        if is_id {
            match value.as_u64() {
                Some(id) if id < n => {}
                Some(id) => problem(key, format!("token {id} of a vocabulary of {n}")),
                None => problem(
                    key,
                    format!("a value of type {}, expected a token id", value.value_type()),
                ),
            }
        }
    }
    if let Some(embedded) = embedded.filter(|&rows| rows != n && n > 0) {
        let message = format!("{n} tokens, but token_embd.weight has {embedded} rows");
        problem("tokenizer.ggml.tokens", message);
    }
    let template = metadata.get("tokenizer.chat_template");
    if template.is_some_and(|t| t.as_str().is_none()) {
        problem("tokenizer.chat_template", "not UTF-8 text".into());
    }
    let Some(tokenizer) = tokenizer else {
        return found;
    };
    match tokenizer.kind() {
        TokenizerKind::BytePair => {
            if let Some(Value::Array(Array::String(merges))) = metadata.get("tokenizer.ggml.merges") {
                let mut unknown = merges.iter().filter_map(|merge| {
                    let text = merge.to_str()?;
                    // The blank after the first character divides; a part may begin with one.
                    let at = text.char_indices().skip(1).find(|(_, c)| *c == ' ')?.0;
                    let joined = [&text[..at], &text[at + 1..]].concat();
                    let known = tokenizer.vocab.id(joined.as_bytes()).is_some();
                    (!known).then(|| format!("{text:?} makes {joined:?}, which is no token"))
                });
                let told: Vec<String> = unknown.by_ref().take(TOLD).collect();
                let more = unknown.count();
                for message in told {
                    problem("tokenizer.ggml.merges", message);
                }
                if more > 0 {
                    problem(
                        "tokenizer.ggml.merges",
                        format!("{more} more merges make no token"),
                    );
                }
            }
        }
        TokenizerKind::SentencePiece => {
            let missing = (0..=u8::MAX).filter(|&b| tokenizer.vocab.byte_id(b).is_none());
            let missing = missing.count();
            if missing > 0 && missing < 256 {
                let message = format!("{missing} of the 256 byte tokens <0x00> to <0xFF> are missing");
                problem("tokenizer.ggml.tokens", message);
            }
        }
        _ => {}
    }
    found
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
            .map(|(key, message)| format!("{key}: {message}\n"))
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
        assert!(
            found.contains("bos_token_id: token 4 of a vocabulary of 4"),
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
