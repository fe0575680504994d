//! Defaults of configuration keys, by model type.

use serde_json::{Map, Value};

use super::encoders;
use super::models::ARCHITECTURES;
use super::rules::{newer, rope};

/// A default value of a configuration key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Default {
    Int(u64),
    Float(f64),
    Bool(bool),
    Null,
}

impl Default {
    pub(super) fn value(self) -> Value {
        match self {
            Self::Int(n) => Value::from(n),
            Self::Float(x) => Value::from(x),
            Self::Bool(b) => Value::from(b),
            Self::Null => Value::Null,
        }
    }
}

/// Defaults that `transformers` (4.57.6, which the stock converter pins) assumes for keys that a `config.json` of this
/// `model_type` leaves out. The stock converter reads configurations through that library, so these reach the GGUF
/// file.
#[derive(Debug)]
pub(crate) struct ModelType {
    pub(crate) name: &'static str,
    /// The type whose defaults this one has too.
    pub(crate) extends: Option<&'static Self>,
    pub(crate) defaults: &'static [(&'static str, Default)],
    /// Other spellings: (found, meant).
    pub(crate) renames: &'static [(&'static str, &'static str)],
    /// Whether a missing `head_dim` becomes `hidden_size / num_attention_heads`.
    pub(crate) derives_head_dim: bool,
    /// The base of the rotation; 0 for models whose positions are not rotated.
    pub(crate) rope_theta: f64,
}

impl ModelType {
    /// Its own defaults, and those of the types that it extends.
    pub(super) fn all_defaults(&'static self) -> impl Iterator<Item = &'static (&'static str, Default)> {
        std::iter::successors(Some(self), |t| t.extends).flat_map(|t| t.defaults)
    }

    /// Only the rotation's base, and nothing that is renamed or derived.
    pub(super) const BLANK: Self = Self {
        name: "",
        extends: None,
        defaults: &[],
        renames: &[],
        derives_head_dim: false,
        rope_theta: 10000.0,
    };

    /// The same without a rotation.
    pub(super) const UNROTATED: Self = Self {
        rope_theta: 0.0,
        ..Self::BLANK
    };
}

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
    let Some(model_type) = own.or_else(|| known.into_iter().find(is_it)) else {
        return config;
    };
    for (found, meant) in model_type.renames {
        if let Some(value) = config.shift_remove(*found) {
            config.insert((*meant).to_owned(), value);
        }
    }
    for (key, default) in model_type.all_defaults() {
        if !config.contains_key(*key) {
            config.insert((*key).to_owned(), default.value());
        }
    }
    let number = |config: &Map<String, Value>, key: &str| config.get(key).and_then(Value::as_u64);
    let hidden = number(&config, "hidden_size");
    let heads = number(&config, "num_attention_heads").filter(|&n| n > 0);
    if let (Some(hidden), Some(heads)) = (hidden, heads)
        && model_type.derives_head_dim
        && config.get("head_dim").is_none_or(Value::is_null)
    {
        config.insert("head_dim".to_owned(), Value::from(hidden / heads));
    }
    if let (Some(heads), Some(Value::Null)) = (heads, config.get("num_key_value_heads")) {
        config.insert("num_key_value_heads".to_owned(), Value::from(heads));
    }
    if model_type.rope_theta > 0.0 {
        rope::standardize(&mut config, model_type.rope_theta);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
