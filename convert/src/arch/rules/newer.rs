//! Configurations as transformers 5 writes them, brought to the form of 4.57, which everything else here reads.
//!
//! Keys that have only moved are moved back: transformers 5 keeps all that concerns rotation in `rope_parameters` and
//! has one vocabulary of layer types for all models. Keys that both versions write are left alone.

use serde_json::{Map, Value};

/// Model types whose configuration has a name of its own for a number in `rope_parameters`: (model type, own name,
/// name in `rope_parameters`).
const ROPE_NAMES: &[(&str, &str, &str)] = &[
    ("gpt_neox", "rotary_pct", "partial_rotary_factor"),
    ("gpt_neox", "rotary_emb_base", "rope_theta"),
    ("gpt_neox_japanese", "rotary_pct", "partial_rotary_factor"),
    ("gpt_neox_japanese", "rotary_emb_base", "rope_theta"),
    ("nomic_bert", "rotary_emb_base", "rope_theta"),
    ("nomic_bert", "rotary_emb_fraction", "partial_rotary_factor"),
];

/// Model types whose layers transformers 4 names otherwise: (model type, its names, those of transformers 5).
const LAYER_NAMES: &[(&str, &[(&str, &str)])] = &[
    ("granitemoehybrid", MAMBA_OR_ATTENTION),
    ("bamba", MAMBA_OR_ATTENTION),
    ("glm5_next_text", INDEXED),
    ("qwen4_exp_text", INDEXED),
];

const MAMBA_OR_ATTENTION: &[(&str, &str)] = &[("mamba", "linear_attention"), ("attention", "full_attention")];
const INDEXED: &[(&str, &str)] = &[("full_attention", "indexed_attention")];

/// Numbers of GLM-5-Next's delta attention by their names inside `linear_attn_config` and those of transformers 5.
const DELTA_NUMBERS: [(&str, &str); 4] = [
    ("head_dim", "linear_head_dim"),
    ("num_heads", "linear_num_heads"),
    ("short_conv_kernel_size", "linear_conv_kernel_dim"),
    ("gate_lower_bound", "linear_lower_bound"),
];

/// Keys that transformers 5 no longer writes of a model type, as its class has nothing else: (model type, key, value as JSON).
const FIXED: &[(&str, &str, &str)] = &[
    ("afmoe", "route_norm", "true"),
    ("deepseek_v3", "scoring_func", SIGMOID),
    ("deepseek_v32", "scoring_func", SIGMOID),
    ("exaone_moe", "scoring_func", SIGMOID),
    ("glm4_moe_lite", "scoring_func", SIGMOID),
    ("glm5_next_text", "mla_use_nope", "true"),
    ("hunyuan_v1_moe", "num_shared_expert", "1"),
    ("sarvam_mla", "scoring_func", SIGMOID),
    ("solar_open", "first_k_dense_replace", "0"),
    ("solar_open", "partial_rotary_factor", "1.0"),
];

const SIGMOID: &str = "\"sigmoid\"";

/// Model types of which transformers 5 writes `tie_word_embeddings: true` whether the two matrices are one or not.
const UNTOLD_TIES: [&str; 3] = ["t5", "mt5", "umt5"];

/// Whether transformers 5 or a later one wrote the configuration.
pub(in crate::arch) fn is_newer(config: &Map<String, Value>) -> bool {
    let version = config.get("transformers_version").and_then(Value::as_str);
    let major = version
        .and_then(|v| v.split('.').next())
        .and_then(|n| n.parse::<u32>().ok());
    major.is_some_and(|n| n >= 5)
}

/// Brings a configuration to the form of transformers 4.57.
pub(crate) fn to_older(config: &mut Map<String, Value>) {
    let Some(model_type) = config
        .get("model_type")
        .and_then(Value::as_str)
        .map(str::to_owned)
    else {
        return;
    };
    let of = |kind: &str| kind == model_type;
    let rope = config.get("rope_parameters").and_then(Value::as_object).cloned();
    for (_, own, name) in ROPE_NAMES.iter().filter(|(kind, ..)| of(kind)) {
        if let Some(value) = rope.as_ref().and_then(|rope| rope.get(*name))
            && !config.contains_key(*own)
        {
            config.insert((*own).to_owned(), value.clone());
        }
    }
    let part = || rope.as_ref()?.get("partial_rotary_factor")?.as_f64();
    if of("minimax_m2")
        && !config.contains_key("rotary_dim")
        && let Some(part) = part().or(is_newer(config).then_some(1.0))
        && let Some(width) = config.get("head_dim").and_then(Value::as_f64)
    {
        config.insert("rotary_dim".to_owned(), Value::from((width * part) as u64));
    }
    for (_, key, value) in FIXED.iter().filter(|(kind, ..)| of(kind)) {
        let moved = rope.as_ref().is_some_and(|rope| rope.contains_key(*key));
        if is_newer(config)
            && !moved
            && !config.contains_key(*key)
            && let Ok(value) = serde_json::from_str(value)
        {
            config.insert((*key).to_owned(), value);
        }
    }
    if of("hunyuan_v1_moe")
        && is_newer(config)
        && !config.contains_key("moe_intermediate_size")
        && let Some(width) = config.get("intermediate_size").cloned()
    {
        config.insert("moe_intermediate_size".to_owned(), width);
    }
    match model_type.as_str() {
        "deepseek_v4" => deepseek4(config),
        "glm5_next_text" => delta_numbers(config),
        "qwen4_exp_text" => output_gate(config),
        _ => {}
    }
    // Layers without experts, one by one where they were counted.
    if let Some(kinds) = config.get("mlp_layer_types").and_then(Value::as_array)
        && !config.contains_key("first_k_dense_replace")
    {
        let dense = kinds.iter().take_while(|kind| *kind == "dense").count();
        if kinds[dense..].iter().all(|kind| kind == "sparse") {
            config.insert("first_k_dense_replace".to_owned(), dense.into());
        }
    }
    if UNTOLD_TIES.contains(&model_type.as_str()) && is_newer(config) {
        config.shift_remove("tie_word_embeddings");
    }
    let names = LAYER_NAMES.iter().find(|(kind, _)| of(kind));
    if let Some((_, names)) = names
        && let Some(Value::Array(types)) = config.get_mut("layer_types")
    {
        for kind in types {
            if let Some((older, _)) = names.iter().find(|(_, newer)| kind == newer) {
                *kind = Value::from(*older);
            }
        }
    }
}

/// Brings back `linear_attn_config`.
fn delta_numbers(config: &mut Map<String, Value>) {
    const KEY: &str = "linear_attn_config";
    let numbers = DELTA_NUMBERS
        .iter()
        .filter_map(|(older, newer)| Some(((*older).to_owned(), config.get(*newer)?.clone())));
    let numbers: Map<String, Value> = numbers.collect();
    if !numbers.is_empty() && !config.contains_key(KEY) {
        config.insert(KEY.to_owned(), Value::Object(numbers));
    }
}

/// Names the function of an output gate whose name is null: that of the feed-forward layers.
fn output_gate(config: &mut Map<String, Value>) {
    let named = config.get("hidden_act").filter(|name| name.is_string()).cloned();
    if let Some(gate) = config.get_mut("output_gate_type").filter(|gate| gate.is_null()) {
        *gate = named.unwrap_or_else(|| "silu".into());
    }
}

/// Brings back what DeepSeek V4's layers compress, which of them choose experts by the token, and the one scaling of the
/// rotation: that of the layers that compress.
fn deepseek4(config: &mut Map<String, Value>) {
    let rates = config.get("compress_rates").and_then(Value::as_object);
    let types = config.get("layer_types").and_then(Value::as_array);
    if let (Some(rates), Some(types)) = (rates, types)
        && !config.contains_key("compress_ratios")
    {
        let rate = |kind: &Value| kind.as_str().and_then(|kind| rates.get(kind)).cloned();
        let ratios = types.iter().map(|kind| rate(kind).unwrap_or_else(|| 0.into()));
        let ratios = Value::Array(ratios.collect());
        config.insert("compress_ratios".to_owned(), ratios);
    }
    if let Some(kinds) = config.get("mlp_layer_types").and_then(Value::as_array)
        && !config.contains_key("num_hash_layers")
    {
        let hashed = kinds.iter().take_while(|kind| *kind == "hash_moe").count();
        config.insert("num_hash_layers".to_owned(), hashed.into());
    }
    let Some(Value::Object(rope)) = config.get_mut("rope_parameters") else {
        return;
    };
    if let Some(Value::Object(mut scaling)) = rope.shift_remove("compress") {
        // The base and the part are keys of their own, and the factor is none.
        for key in ["rope_theta", "partial_rotary_factor", "attention_factor"] {
            scaling.shift_remove(key);
        }
        *rope = scaling;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn older(text: &str) -> Value {
        let Ok(Value::Object(mut config)) = serde_json::from_str(text) else {
            panic!("not an object")
        };
        to_older(&mut config);
        Value::Object(config)
    }

    #[test]
    fn layers_of_deepseek_v4_are_told_by_ratios_and_counts() {
        let config = older(
            r#"{"model_type": "deepseek_v4", "compress_rates": {"compressed_sparse_attention": 4},
            "layer_types": ["sliding_attention", "compressed_sparse_attention"], "mlp_layer_types": ["hash_moe", "moe"],
            "rope_parameters": {"main": {"rope_type": "default"},
                "compress": {"rope_type": "yarn", "factor": 16.0, "rope_theta": 160000.0, "attention_factor": 1.0}}}"#,
        );
        assert_eq!(config["compress_ratios"], serde_json::json!([0, 4]));
        assert_eq!(config["num_hash_layers"], 1);
        let scaling = serde_json::json!({"rope_type": "yarn", "factor": 16.0});
        assert_eq!(config["rope_parameters"], scaling);
    }

    #[test]
    fn numbers_of_delta_attention_are_brought_back() {
        let config = older(
            r#"{"model_type": "glm5_next_text", "transformers_version": "5.24.0", "linear_num_heads": 4,
            "layer_types": ["linear_attention", "indexed_attention"]}"#,
        );
        assert_eq!(config["linear_attn_config"], serde_json::json!({"num_heads": 4}));
        assert_eq!(config["layer_types"][1], "full_attention");
        assert_eq!(config["mla_use_nope"], true);
    }

    #[test]
    fn what_moved_into_rope_parameters_is_found_under_its_old_name() {
        let config = older(
            r#"{"model_type": "gpt_neox", "rope_parameters": {"partial_rotary_factor": 0.75, "rope_theta": 5000}}"#,
        );
        assert_eq!(
            (&config["rotary_pct"], &config["rotary_emb_base"]),
            (&0.75.into(), &5000.into())
        );
        let both = older(
            r#"{"model_type": "gpt_neox", "rotary_pct": 0.5, "rope_parameters": {"partial_rotary_factor": 0.75}}"#,
        );
        assert_eq!(both["rotary_pct"], 0.5);
        let counted = older(
            r#"{"model_type": "minimax_m2", "head_dim": 128, "rope_parameters": {"partial_rotary_factor": 0.5}}"#,
        );
        assert_eq!(counted["rotary_dim"], 64);
    }

    #[test]
    fn the_ties_of_t5_are_not_told_by_transformers_5() {
        let config = |version: &str| {
            older(&format!(
                r#"{{"model_type": "t5", "tie_word_embeddings": true, "transformers_version": "{version}"}}"#
            ))
        };
        assert!(config("5.24.0").get("tie_word_embeddings").is_none());
        assert_eq!(config("4.57.6")["tie_word_embeddings"], true);
    }

    #[test]
    fn layers_without_experts_are_counted() {
        let count = |kinds: &str| {
            let config = format!(r#"{{"model_type": "glm4_moe_lite", "mlp_layer_types": {kinds}}}"#);
            older(&config).get("first_k_dense_replace").cloned()
        };
        assert_eq!(count(r#"["dense", "dense", "sparse"]"#), Some(Value::from(2)));
        assert_eq!(count(r#"["sparse"]"#), Some(Value::from(0)));
        assert_eq!(count(r#"["sparse", "dense"]"#), None);
    }

    #[test]
    fn what_a_class_has_in_any_case_is_added() {
        let solar = |version: &str| {
            older(&format!(
                r#"{{"model_type": "solar_open", "transformers_version": "{version}"}}"#
            ))
        };
        assert_eq!(solar("5.24.0")["first_k_dense_replace"], 0);
        let of = |kind: &str| {
            older(&format!(
                r#"{{"model_type": "{kind}", "transformers_version": "5.24.0", "head_dim": 16, "intermediate_size": 96}}"#
            ))
        };
        assert_eq!(of("deepseek_v3")["scoring_func"], "sigmoid");
        assert_eq!(of("afmoe")["route_norm"], true);
        assert_eq!(of("minimax_m2")["rotary_dim"], 16);
        assert_eq!(of("hunyuan_v1_moe")["moe_intermediate_size"], 96);
        assert!(solar("4.57.6").get("first_k_dense_replace").is_none());
    }

    #[test]
    fn layer_types_get_their_old_names_in_models_that_had_some() {
        let types = |kind: &str| {
            older(&format!(
                r#"{{"model_type": "{kind}", "layer_types": ["linear_attention", "full_attention"]}}"#
            ))["layer_types"]
                .to_string()
        };
        assert_eq!(types("granitemoehybrid"), r#"["mamba","attention"]"#);
        assert_eq!(types("qwen3_next"), r#"["linear_attention","full_attention"]"#);
    }
}
