//! `config.json` from the `{arch}.*` keys.

use gguf::Value as GgufValue;
use serde_json::{Map, Value};

use super::number::number;
use super::weights::Plan;
use super::{Family, rope};
use crate::source::{GgufSource, Source};

/// Keys whose values are in `config.json` as they are, and their names there.
const KEYS: [(&str, &str); 8] = [
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("block_count", "num_hidden_layers"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("context_length", "max_position_embeddings"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("rope.freq_base", "rope_theta"),
];

/// Keys that say nothing of their own.
const IMPLIED: [&str; 4] = [
    "vocab_size",
    "rope.dimension_count",
    "attention.key_length",
    "attention.value_length",
];

/// The configuration.
///
/// # Errors
/// A missing or malformed key, and frequency factors that no published model has.
pub(super) fn config(
    source: &GgufSource,
    family: &Family,
    plan: &Plan,
    warnings: &mut Vec<String>,
) -> Result<Map<String, Value>, String> {
    let metadata = source.metadata();
    let architecture = metadata.architecture().to_owned();
    let mut config = Map::new();
    let mut set = |key: &str, value: Value| {
        config.insert(key.to_owned(), value);
    };
    set("architectures", Value::from(vec![family.class]));
    set("model_type", family.model_type.into());
    for &(key, name) in KEYS.iter().chain(family.keys) {
        match metadata.arch(key) {
            Some(value) => set(name, number(key, value)?),
            None if name == "rope_theta" => {}
            None => return Err(format!("expected a key {architecture}.{key}, found none")),
        }
    }
    if let Some(size) = metadata.arch("attention.key_length") {
        if metadata.arch("attention.value_length") != Some(size) {
            return Err("expected keys and values in heads of one size, found different ones".to_owned());
        }
        set("head_dim", number("attention.key_length", size)?);
    }
    let tokens = metadata
        .get("tokenizer.ggml.tokens")
        .and_then(GgufValue::as_array);
    let vocabulary = metadata.arch("vocab_size").and_then(GgufValue::as_u64);
    let vocabulary = vocabulary.or(tokens.map(|t| t.len() as u64));
    set(
        "vocab_size",
        vocabulary
            .ok_or("expected a vocabulary or vocab_size, found neither")?
            .into(),
    );
    set("hidden_act", "silu".into());
    set("tie_word_embeddings", (!plan.has("output.weight")).into());
    set("torch_dtype", plan.dtype.torch().into());
    for (key, tensor) in family.biases {
        set(key, plan.has(tensor).into());
    }
    for (key, value) in family.fixed {
        set(key, (*value).into());
    }
    if family.gguf == "llama" && family.class != "LlamaForCausalLM" {
        set("sliding_window", Value::Null);
    }
    if let Some(scaling) = rope::scaling(source, warnings)? {
        set("rope_scaling", scaling);
    }
    let prefix = format!("{architecture}.");
    for (key, _) in metadata.iter() {
        let Some(key) = key.strip_prefix(&prefix) else {
            continue;
        };
        let mut named = KEYS.iter().chain(family.keys);
        let known = named.any(|(k, _)| *k == key) || IMPLIED.contains(&key);
        if !known && !key.starts_with("rope.scaling.") {
            warnings.push(format!(
                "key {prefix}{key} has no place in config.json and is left out"
            ));
        }
    }
    Ok(config)
}
