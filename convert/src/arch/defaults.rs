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
    let model_type = config.get("model_type").and_then(Value::as_str);
    let known = ARCHITECTURES
        .iter()
        .chain(encoders::ENCODERS)
        .flat_map(|a| a.model_types);
    let is_it = |t: &&&'static ModelType| Some(t.name) == model_type;
    let own = first.iter().find(|t| t.name.is_empty() || is_it(t));
    if let Some(model_type) = own.or_else(|| known.into_iter().find(is_it)) {
        model_type.complete(&mut config);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::rules::published::TRANSFORMERS;
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

    /// What transformers makes of other keys of the same configuration.
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
        assert_eq!(idle, [&"transformers", &SECTIONS]);
    }
}
