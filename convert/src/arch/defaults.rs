//! Defaults of configuration keys, by model type.

use std::sync::LazyLock;

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

/// Defaults by model type that `transformers` (4.57.6, which the stock converter pins) assumes for keys which a
/// `config.json` leaves out. The stock converter reads configurations through that library, so these reach the GGUF file.
/// The file is made by oracle/py/config_defaults.py, and a test of the oracle makes it again.
static TRANSFORMERS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("transformers_defaults.json")).expect("a test reads it")
});

/// The base of a rotation of which nothing is said.
const ROPE_THETA: &str = "rope_theta";

/// The configurations of one `model_type`.
#[derive(Debug)]
pub(crate) struct ModelType {
    pub(crate) name: &'static str,
    /// Whether the defaults that `transformers` has for the name are this one's.
    pub(crate) is_published: bool,
    /// The type whose defaults this one has too.
    pub(crate) extends: Option<&'static Self>,
    /// Defaults that `transformers` does not have, which count before those it has.
    pub(crate) defaults: &'static [(&'static str, Default)],
    /// Other spellings: (found, meant).
    pub(crate) renames: &'static [(&'static str, &'static str)],
    /// Whether a missing `head_dim` becomes `hidden_size / num_attention_heads`.
    pub(crate) derives_head_dim: bool,
    /// The base of the rotation, instead of that of `transformers` or, where it has none, 10000; 0 for models whose
    /// positions are not rotated.
    pub(crate) rope_theta: Option<f64>,
}

impl ModelType {
    /// The defaults of `transformers` and nothing that is renamed or derived.
    pub(super) const BLANK: Self = Self {
        name: "",
        is_published: true,
        extends: None,
        defaults: &[],
        renames: &[],
        derives_head_dim: false,
        rope_theta: None,
    };

    /// The same without a rotation.
    pub(super) const UNROTATED: Self = Self {
        rope_theta: Some(0.0),
        ..Self::BLANK
    };

    /// The type of this name, with the defaults of `transformers`.
    pub(super) const fn of(name: &'static str) -> Self {
        Self { name, ..Self::BLANK }
    }

    /// The same without a rotation.
    pub(super) const fn unrotated(name: &'static str) -> Self {
        Self {
            name,
            ..Self::UNROTATED
        }
    }

    /// The type and those that it extends.
    fn line(&'static self) -> impl Iterator<Item = &'static Self> {
        std::iter::successors(Some(self), |t| t.extends)
    }

    fn published(&'static self) -> Option<&'static Map<String, Value>> {
        TRANSFORMERS
            .get(self.name)?
            .as_object()
            .filter(|_| self.is_published)
    }

    /// Its own defaults, and those of the types that it extends.
    pub(super) fn all_defaults(&'static self) -> impl Iterator<Item = (&'static str, Value)> {
        self.line().flat_map(|t| {
            let own = t.defaults.iter().map(|(key, value)| (*key, value.value()));
            let published = t.published().into_iter().flatten();
            let published = published.map(|(key, value)| (key.as_str(), value.clone()));
            own.chain(published.filter(|(key, _)| *key != ROPE_THETA))
        })
    }

    /// The base of the rotation; 0 where there is none.
    pub(super) fn base(&'static self) -> f64 {
        let published = || self.line().find_map(|t| t.published()?.get(ROPE_THETA)?.as_f64());
        self.rope_theta.or_else(published).unwrap_or(10000.0)
    }
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
        if !config.contains_key(key) {
            config.insert(key.to_owned(), default);
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
    for key in ["num_key_value_heads", "num_kv_heads"] {
        if let (Some(heads), Some(Value::Null)) = (heads, config.get(key)) {
            config.insert(key.to_owned(), Value::from(heads));
        }
    }
    if model_type.base() > 0.0 {
        rope::standardize(&mut config, model_type.base());
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
        assert_eq!(idle, [&"transformers"]);
    }
}
