//! Completion of a configuration with the defaults of its model type.

use serde_json::{Map, Value};

use super::encoders;
use super::models::ARCHITECTURES;
use super::rules::model_type::ModelType;
use super::rules::newer;

/// Completes a configuration with the defaults of its model type, whichever version of `transformers` wrote it.
pub(super) fn complete(config: Map<String, Value>) -> Map<String, Value> {
    complete_with(&[], config)
}

/// The same; the model types of `first` count before those that are built in. One without a name is any.
pub(super) fn complete_with(
    first: &[&'static ModelType],
    mut config: Map<String, Value>,
) -> Map<String, Value> {
    newer::to_older(&mut config);
    let name = config.get("model_type").and_then(Value::as_str).unwrap_or("");
    let own = first.iter().find(|t| t.name.is_empty() || t.name == name);
    let known = || built_in(name).filter(|t| !t.refuses(&config));
    if let Some(model_type) = own.copied().or_else(known) {
        model_type.complete(&mut config);
    }
    config
}

/// The model type of this name.
pub(super) fn built_in(name: &str) -> Option<&'static ModelType> {
    let known = ARCHITECTURES.iter().chain(encoders::ENCODERS);
    known
        .flat_map(|a| a.model_types)
        .find(|t| t.name == name)
        .copied()
}

/// Whether `transformers` refuses a configuration of this model type, and with it that of a whole in which it is a part.
pub(super) fn is_refused(model_type: &str, config: &Map<String, Value>) -> bool {
    built_in(model_type).is_some_and(|t| t.refuses(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::rules::model_type::{FROM_NULL, INNER, KINDS, SCALED};
    use crate::arch::rules::published::{KNOWN, TRANSFORMERS};
    use crate::arch::rules::sections::SECTIONS;

    fn completed(text: &str) -> Value {
        let Value::Object(map) = serde_json::from_str(text).unwrap() else {
            panic!("not an object")
        };
        Value::Object(complete(map))
    }

    #[test]
    fn defaults_fill_only_what_is_missing() {
        let c = completed(
            r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": null}"#,
        );
        assert_eq!(c["head_dim"], 8);
        assert_eq!(c["num_key_value_heads"], 8);
        assert_eq!(c["rms_norm_eps"], 1e-6);
        assert_eq!(
            c["rope_parameters"],
            serde_json::json!({"rope_theta": 10000.0, "rope_type": "default"})
        );
    }

    #[test]
    fn configurations_inside_are_completed() {
        let c = completed(r#"{"model_type": "dbrx", "attn_config": {"kv_n_heads": 8}, "ffn_config": null}"#);
        let attention = serde_json::json!({"kv_n_heads": 8, "rope_theta": 10000.0});
        assert_eq!(c["attn_config"], attention);
        assert_eq!(c["ffn_config"]["moe_num_experts"], 4);
    }

    #[test]
    fn a_null_stays_where_transformers_leaves_it() {
        let heads = |model_type: &str, key: &str| {
            completed(&format!(
                r#"{{"model_type": "{model_type}", "hidden_size": 96, "num_attention_heads": 6, "{key}": null}}"#
            ))[key]
                .clone()
        };
        assert_eq!(heads("llama", "num_key_value_heads"), 6);
        assert_eq!(heads("chameleon", "num_key_value_heads"), Value::Null);
        assert_eq!(heads("gpt_oss", "head_dim"), 16);
        assert_eq!(heads("cohere2", "head_dim"), Value::Null);
    }

    #[test]
    fn a_scaling_that_is_left_out_is_that_of_the_model_type() {
        let rope = |more: &str| {
            completed(&format!(r#"{{"model_type": "gpt_oss"{more}}}"#))["rope_parameters"].clone()
        };
        assert_eq!(rope("")["factor"], 32.0);
        for said in [
            r#", "rope_scaling": null"#,
            r#", "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}"#,
        ] {
            assert_eq!(rope(said)["rope_type"], "default", "{said}");
        }
    }

    /// The stock converter takes it as it is stored, as it takes one of a model type that transformers does not know.
    #[test]
    fn a_configuration_that_transformers_refuses_is_not_completed() {
        let with = |model_type: &str, scaling: &str| {
            completed(&format!(
                r#"{{"model_type": "{model_type}", "rope_scaling": {{"rope_type": {scaling}}}}}"#
            ))
        };
        let whole = r#""llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0"#;
        assert!(with("llama", whole).get("rms_norm_eps").is_none());
        assert!(with("llama", r#""yarn""#).get("rms_norm_eps").is_none());
        let kindless = completed(r#"{"model_type": "llama", "rope_scaling": {"factor": 8.0}}"#);
        assert!(kindless.get("rms_norm_eps").is_none());
        let known = format!("{whole}, \"original_max_position_embeddings\": 64");
        assert_eq!(with("llama", &known)["rms_norm_eps"], 1e-6);
        // The older name counts before the newer where the class copies it, a null too.
        let rope = |names: &str| {
            let text = format!(r#"{{"model_type": "llama", "rope_scaling": {{{names}, "factor": 2.0}}}}"#);
            completed(&text)["rope_parameters"]["rope_type"].clone()
        };
        assert_eq!(rope(r#""type": "linear", "rope_type": null"#), "linear");
        assert_eq!(rope(r#""type": "linear", "rope_type": "yarn""#), "linear");
        assert_eq!(rope(r#""type": null, "rope_type": "yarn""#), Value::Null);
        // Cohere's does not copy it, and wants the newer.
        let older =
            completed(r#"{"model_type": "cohere", "rope_scaling": {"type": "linear", "factor": 2.0}}"#);
        assert!(older.get("layer_norm_eps").is_none());
        // Mistral's class has no scaling to check.
        assert_eq!(with("mistral", whole)["rms_norm_eps"], 1e-6);
    }

    /// Values that transformers derives from other keys of the same configuration.
    #[test]
    fn heads_of_keys_and_values_are_those_of_queries_where_none_are_named() {
        for (model_type, key) in [
            ("falcon", "num_kv_heads"),
            ("deepseek_v2", "num_key_value_heads"),
            ("granitemoehybrid", "num_key_value_heads"),
        ] {
            let named = format!(r#"{{"model_type": "{model_type}", "num_attention_heads": 24}}"#);
            assert_eq!(completed(&named)[key], 24, "{model_type}");
        }
    }

    /// Every model type of an architecture has its row, and every row its model type.
    #[test]
    fn rows_are_those_of_the_model_types() {
        let known = ARCHITECTURES.iter().chain(encoders::ENCODERS);
        let types = known.flat_map(|a| a.model_types).flat_map(|t| t.line());
        let mut names: Vec<&str> = types.filter(|t| t.is_published).map(|t| t.name).collect();
        names.sort_unstable();
        names.dedup();
        let rows: Vec<&str> = TRANSFORMERS.keys().map(String::as_str).collect();
        let without: Vec<&&str> = names.iter().filter(|name| !rows.contains(name)).collect();
        // The name that transformers writes, which it does not read.
        assert_eq!(without, [&"Glm4vMoe_text"]);
        let idle: Vec<&&str> = rows.iter().filter(|row| !names.contains(row)).collect();
        assert_eq!(
            idle,
            [
                &"transformers",
                &SCALED,
                &KNOWN,
                &FROM_NULL,
                &INNER,
                &KINDS,
                &SECTIONS
            ]
        );
    }
}
