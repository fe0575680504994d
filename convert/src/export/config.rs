//! `config.json` from the `{arch}.*` keys.

use gguf::Value as GgufValue;
use serde_json::{Map, Value};

use super::Family;
use super::weights::Plan;
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

/// What Llama 3 models were published with: (factor, low, high, original context).
const LLAMA3_SCALINGS: [(f64, f64, f64, u64); 3] = [
    (8.0, 1.0, 4.0, 8192),
    (32.0, 1.0, 4.0, 8192),
    (16.0, 1.0, 1.0, 8192),
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
    for (key, name) in KEYS {
        match metadata.arch(key) {
            Some(value) => set(name, number(key, value)?),
            None if name == "rope_theta" => {}
            None => return Err(format!("no key {architecture}.{key}")),
        }
    }
    if let Some(size) = metadata.arch("attention.key_length") {
        if metadata.arch("attention.value_length") != Some(size) {
            return Err("key and value heads of different sizes".to_owned());
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
        vocabulary.ok_or("no vocabulary and no vocab_size")?.into(),
    );
    set("hidden_act", "silu".into());
    set("tie_word_embeddings", (!plan.has("output.weight")).into());
    set("torch_dtype", plan.dtype.torch().into());
    if family.gguf != "qwen2" {
        set("attention_bias", plan.has("blk.0.attn_q.bias").into());
    }
    if family.gguf == "llama" {
        set("mlp_bias", plan.has("blk.0.ffn_gate.bias").into());
    }
    if family.class.starts_with("Mistral") {
        set("sliding_window", Value::Null);
    }
    if let Some(scaling) = scaling(source)? {
        set("rope_scaling", scaling);
    }
    for kind in ["bos", "eos", "pad"] {
        let key = if kind == "pad" { "padding" } else { kind };
        if let Some(id) = metadata.get_u64(&format!("tokenizer.ggml.{key}_token_id")) {
            set(&format!("{kind}_token_id"), id.into());
        }
    }
    let prefix = format!("{architecture}.");
    for (key, _) in metadata.iter() {
        let Some(key) = key.strip_prefix(&prefix) else {
            continue;
        };
        let known = KEYS.iter().any(|(k, _)| *k == key) || IMPLIED.contains(&key);
        if !known && !key.starts_with("rope.scaling.") {
            warnings.push(format!(
                "key {prefix}{key} has no place in config.json and is left out"
            ));
        }
    }
    Ok(config)
}

/// A number, in its shortest spelling where it is a float.
fn number(key: &str, value: &GgufValue) -> Result<Value, String> {
    if let Some(n) = value.as_u64() {
        return Ok(n.into());
    }
    match value {
        GgufValue::F32(x) if x.is_finite() => {
            // As many digits as tell it from its neighbours.
            let shortest: f64 = x.to_string().parse().map_err(|e| format!("{key}: {e}"))?;
            Ok(shortest.into())
        }
        other => Err(format!(
            "key {key} is of type {}, one number expected",
            other.value_type()
        )),
    }
}

fn scaling(source: &GgufSource) -> Result<Option<Value>, String> {
    let metadata = source.metadata();
    let number_of = |key: &str| metadata.arch(key).map(|v| number(key, v)).transpose();
    match metadata.arch("rope.scaling.type").and_then(GgufValue::as_str) {
        None | Some("none") => {}
        Some(kind @ ("linear" | "yarn")) => {
            let mut map = Map::new();
            map.insert("rope_type".to_owned(), kind.into());
            for (key, name) in [
                ("rope.scaling.factor", "factor"),
                (
                    "rope.scaling.original_context_length",
                    "original_max_position_embeddings",
                ),
                ("rope.scaling.yarn_ext_factor", "extrapolation_factor"),
                ("rope.scaling.yarn_attn_factor", "attention_factor"),
                ("rope.scaling.yarn_beta_fast", "beta_fast"),
                ("rope.scaling.yarn_beta_slow", "beta_slow"),
            ] {
                if let Some(value) = number_of(key)? {
                    map.insert(name.to_owned(), value);
                }
            }
            return Ok(Some(Value::Object(map)));
        }
        Some(other) => return Err(format!("rope.scaling.type {other:?} cannot be exported")),
    }
    let Some(at) = source
        .tensors()
        .iter()
        .position(|t| t.name == "rope_freqs.weight")
    else {
        return Ok(None);
    };
    let count = source.tensors()[at].shape.first().copied().unwrap_or(0);
    if count == 0 || count > u64::from(u16::MAX) {
        return Err(format!("rope_freqs.weight has {count} elements"));
    }
    let mut stored = vec![0f32; count as usize];
    source
        .read_rows(at, 0..1, &mut stored)
        .map_err(|e| e.to_string())?;
    let base = metadata.arch("rope.freq_base").and_then(GgufValue::as_f64);
    for (factor, low, high, context) in LLAMA3_SCALINGS {
        let scaling = super::object([
            ("rope_type", "llama3".into()),
            ("factor", factor.into()),
            ("low_freq_factor", low.into()),
            ("high_freq_factor", high.into()),
            ("original_max_position_embeddings", context.into()),
        ]);
        let Value::Object(mut rope) = scaling.clone() else {
            continue;
        };
        rope.insert("rope_theta".to_owned(), base.unwrap_or(10000.0).into());
        if crate::arch::llama3_frequency_factors(&rope, count as u32 * 2).is_some_and(|f| f == stored) {
            return Ok(Some(scaling));
        }
    }
    Err("rope_freqs.weight: not the frequency factors of a published Llama 3 model".to_owned())
}
