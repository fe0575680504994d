//! `tokenizer.json` of a byte-level BPE.

use gguf::{Array, Value as GgufValue};
use serde_json::{Map, Value, json};

use super::vocabulary::Vocabulary;
use crate::tokenizer::{Splitting, splitting};

/// # Errors
/// A pre-tokenizer whose way of splitting is not known, tokens that are not UTF-8 or there twice, no merges.
pub(super) fn document(vocabulary: &Vocabulary<'_>) -> Result<Value, String> {
    let metadata = vocabulary.metadata;
    let name = metadata.get_str("tokenizer.ggml.pre").unwrap_or("default");
    let splitting = splitting(name).map_err(|known| {
        format!("tokenizer.ggml.pre: expected one that can be exported ({known}), found {name:?}")
    })?;
    let Some(Array::String(merges)) = metadata
        .get("tokenizer.ggml.merges")
        .and_then(GgufValue::as_array)
    else {
        return Err("tokenizer.ggml.merges: expected merges, found none".to_owned());
    };
    let merges: Vec<Value> = merges.iter().map(|m| Value::from(m.to_string_lossy())).collect();
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": vocabulary.added(),
        "normalizer": if splitting.composes { json!({"type": "NFC"}) } else { Value::Null },
        "pre_tokenizer": pre_tokenizer(&splitting),
        "post_processor": post_processor(vocabulary),
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": splitting.ignore_merges, "vocab": tokens(vocabulary)?, "merges": merges,
        },
    }))
}

/// The model's own tokens. Added ones that follow all of them without a gap get their ids from that, the others
/// from being among them.
fn tokens(vocabulary: &Vocabulary<'_>) -> Result<Map<String, Value>, String> {
    let count = vocabulary.tokens.len();
    let own = |id: &usize| !vocabulary.is_added(*id) && !vocabulary.is_padding(*id);
    let end = (0..count).rev().find(own).map_or(0, |id| id + 1);
    let is_gap = |id: &usize| vocabulary.is_padding(*id);
    let last_added = (0..count).rev().find(|&id| vocabulary.is_added(id)).unwrap_or(0);
    let end = if (0..last_added.max(end)).any(|id| is_gap(&id)) {
        count
    } else {
        end
    };
    let mut tokens = Map::new();
    for id in (0..end).filter(|id| !is_gap(id)) {
        let text = vocabulary.tokens[id].to_str();
        let text = text.ok_or_else(|| format!("token {id}: expected UTF-8, found other bytes"))?;
        if tokens.insert(text.to_owned(), id.into()).is_some() {
            return Err(format!("expected each token once, found {text:?} twice"));
        }
    }
    Ok(tokens)
}

fn byte_level(use_regex: bool, trim_offsets: bool) -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": trim_offsets, "use_regex": use_regex,
    })
}

fn pre_tokenizer(splitting: &Splitting) -> Value {
    let mut steps: Vec<Value> = splitting
        .patterns
        .iter()
        .map(|pattern| {
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
        })
        .collect();
    steps.push(byte_level(false, true));
    json!({"type": "Sequence", "pretokenizers": steps})
}

/// Post-processor that adds BOS and EOS; `null` where flags in `tokenizer_config.json` say enough.
fn post_processor(vocabulary: &Vocabulary<'_>) -> Value {
    match (vocabulary.adds("bos"), vocabulary.adds("eos")) {
        (Some(false), Some(false)) => byte_level(false, false),
        _ => vocabulary.template().unwrap_or(Value::Null),
    }
}
