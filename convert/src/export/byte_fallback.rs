//! `tokenizer.json` of a BPE over characters with tokens for bytes, of which the GGUF file has the tokens alone.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::vocabulary::{CONTROL, NORMAL, USER_DEFINED, Vocabulary};

/// Stand-in for a space.
const SPACE: char = '▁';

/// # Errors
/// Tokens that are not UTF-8 or are there twice.
pub(super) fn document(vocabulary: &Vocabulary<'_>) -> Result<Value, String> {
    let first_added = vocabulary.kinds.iter().position(|&k| k == USER_DEFINED);
    let end = first_added.unwrap_or(vocabulary.tokens.len());
    let mut ids: HashMap<&str, usize> = HashMap::new();
    let mut texts: Vec<&str> = Vec::new();
    for id in 0..end {
        let text = vocabulary.tokens[id].to_str();
        let text = text.ok_or_else(|| format!("token {id}: expected UTF-8, found other bytes"))?;
        texts.push(text);
        if !vocabulary.is_padding(id) && ids.insert(text, id).is_some() {
            return Err(format!("expected each token once, found {text:?} twice"));
        }
    }
    let tokens: Map<String, Value> = (0..end)
        .filter(|&id| !vocabulary.is_padding(id))
        .map(|id| (texts[id].to_owned(), id.into()))
        .collect();
    let unknown = vocabulary.special("unk").map(|(_, text)| text);
    // Where nothing names it, the usual one.
    let usual = ids.get("<unk>").filter(|&&id| vocabulary.kinds[id] == CONTROL);
    let unknown = unknown.or(usual.map(|_| "<unk>".to_owned()));
    let prefix = vocabulary.metadata.get_bool("tokenizer.ggml.add_space_prefix") != Some(false);
    let replace =
        |from: char, to: char| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut normalizers = vec![replace(' ', SPACE)];
    let mut decoders = vec![
        replace(SPACE, ' '),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": vocabulary.added(),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": vocabulary.template(),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
            "vocab": tokens, "merges": merges(vocabulary, &texts, &ids),
        },
    }))
}

/// The merges that transformers works out of a SentencePiece model: for every token, in the order of their ranks,
/// all ways of making it of two others, those of the first left parts first.
///
/// Ranks are the order of the ids, which is how SentencePiece numbers what it learns. Vocabularies whose first
/// learned token is two spaces (those of Llama and Mistral) rank runs of spaces after everything else.
fn merges(vocabulary: &Vocabulary<'_>, texts: &[&str], ids: &HashMap<&str, usize>) -> Vec<String> {
    let is_run = |text: &str| text.chars().all(|c| c == SPACE);
    let long = |id: &usize| vocabulary.kinds[*id] == NORMAL && texts[*id].chars().nth(1).is_some();
    let mut ranked: Vec<usize> = (0..texts.len()).filter(long).collect();
    let spaces_last = ranked
        .first()
        .is_some_and(|&id| texts[id].chars().eq([SPACE, SPACE]));
    if spaces_last {
        ranked.sort_by_key(|&id| is_run(texts[id]));
    }
    let mut merges = Vec::new();
    for id in ranked {
        let cuts = texts[id]
            .char_indices()
            .skip(1)
            .map(|(at, _)| texts[id].split_at(at));
        let mut parts: Vec<(usize, usize)> = cuts
            .filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?)))
            .collect();
        parts.sort_unstable();
        merges.extend(
            parts
                .into_iter()
                .map(|(left, right)| format!("{} {}", texts[left], texts[right])),
        );
    }
    merges
}
