//! Parameters of rotary embeddings that the configuration has and the converted file has not.

use gguf::{Metadata, Value as GgufValue};
use serde_json::{Map, Value};

use super::multimodal;
use crate::arch::{Architecture, Hparams};

/// The kinds of scaling that are known.
pub(in crate::arch) const KINDS: [&str; 10] = [
    "default",
    "linear",
    "dynamic",
    "yarn",
    "longrope",
    "su",
    "llama3",
    "proportional",
    "mrope",
    "xdrope",
];

/// Architectures whose loader in llama.cpp reads YaRN's ramp (`yarn_beta_fast`, `yarn_beta_slow`) from the file.
const READ_RAMP: [&str; 1] = ["mistral3"];
/// Architectures whose graph in llama.cpp rotates the layers with a window by a base of their own
/// (`rope.freq_base_swa`). Others' loaders may read the key, and their graphs not.
const ROTATE_BY_LOCAL_BASE: [&str; 16] = [
    "afmoe",
    "cohere2",
    "gemma-embedding",
    "gemma2",
    "gemma3",
    "gemma4",
    "gemma4-assistant",
    "gpt-oss",
    "laguna",
    "llama4",
    "maple",
    "mimo2",
    "modern-bert",
    "smallthinker",
    "spark2_5",
    "step35",
];
/// The ramp that all others have.
const RAMP: [(&str, f64); 3] = [
    ("beta_fast", 32.0),
    ("beta_slow", 1.0),
    ("extrapolation_factor", 1.0),
];

/// Relative difference of two factors that are the same but for rounding.
const SAME: f64 = 1e-3;

/// `rope_scaling` beside `rope_parameters` where they differ; `used` are the parameters of the conversion.
pub(crate) fn contradiction(config: &Map<String, Value>, hp: &Hparams) -> Option<String> {
    let inner = multimodal::inner_text(config).unwrap_or(config);
    let object = |key: &str| {
        inner
            .get(key)
            .and_then(Value::as_object)
            .filter(|m| !m.is_empty())
    };
    let (old, new) = (object("rope_scaling")?, object("rope_parameters")?);
    let kind = |map: &Map<String, Value>| {
        let kind = map.get("rope_type").or_else(|| map.get("type"));
        kind.and_then(Value::as_str).unwrap_or("default").to_owned()
    };
    let differs = |key: &&String| {
        let (a, b) = (old.get(*key), new.get(*key));
        match (a.and_then(Value::as_f64), b.and_then(Value::as_f64)) {
            (Some(a), Some(b)) => a != b,
            _ => b.is_some() && a != b,
        }
    };
    let mut keys: Vec<&str> = Vec::new();
    if kind(old) != kind(new) {
        keys.push("rope_type");
    }
    keys.extend(
        old.keys()
            .filter(|k| !matches!(k.as_str(), "type" | "rope_type"))
            .filter(differs)
            .map(String::as_str),
    );
    if keys.is_empty() {
        return None;
    }
    let same = |map: &Map<String, Value>| {
        kind(map) == kind(hp.rope()) && map.get("factor") == hp.rope().get("factor")
    };
    let used = if same(old) {
        "rope_scaling"
    } else {
        "rope_parameters"
    };
    Some(format!(
        "config.json: rope_scaling and rope_parameters contradict each other ({}); {used} is used",
        keys.join(", ")
    ))
}

/// Parts of the scaling in `config.json` that are not written.
pub(crate) fn dropped(
    hp: &Hparams,
    architecture: &Architecture,
    metadata: &Metadata,
    has_tensor: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let rope = hp.rope();
    let nested: Vec<(&str, &Map<String, Value>)> = rope
        .iter()
        .filter_map(|(layers, v)| Some((layers.as_str(), v.as_object()?)))
        .collect();
    let file = File {
        arch: architecture.gguf,
        metadata,
        has_tensor,
    };
    let mut notes = Vec::new();
    if nested.is_empty() {
        notes.extend(
            file.missing(hp, rope)
                .map(|what| format!("rope_parameters: {what}")),
        );
    }
    for (layers, own) in nested {
        let what = match (layers, kind(own)) {
            ("full_attention", _) => file.missing(hp, own),
            (_, "default") => None,
            (_, kind) => Some(format!("{kind} scaling has no key for these layers")),
        };
        notes.extend(what.map(|what| format!("rope_parameters: {layers}: {what}")));
    }
    let base = |layers: &str| rope.get(layers)?.get("rope_theta")?.as_f64();
    if let (Some(full), Some(local)) = (base("full_attention"), base("sliding_attention"))
        && full != local
        && !ROTATE_BY_LOCAL_BASE.contains(&architecture.gguf)
    {
        notes.push(format!(
            "rope_parameters: sliding_attention: rope_theta is {local}, and llama.cpp rotates all layers of {} by that of \
             full_attention, {full}",
            architecture.gguf
        ));
    }
    let note = |what| format!("{what}; the model is converted without, as by the stock converter");
    notes.into_iter().map(note).collect()
}

fn kind(rope: &Map<String, Value>) -> &str {
    let kind = rope.get("rope_type").and_then(Value::as_str).unwrap_or("default");
    if kind.eq_ignore_ascii_case("llama3") {
        "llama3"
    } else {
        kind
    }
}

/// Rotation in the keys of a converted file.
struct File<'a> {
    arch: &'static str,
    metadata: &'a Metadata,
    has_tensor: &'a dyn Fn(&str) -> bool,
}

impl File<'_> {
    fn key(&self, suffix: &str) -> Option<&GgufValue> {
        self.metadata.get(&format!("{}.rope.scaling.{suffix}", self.arch))
    }

    /// Those of these parameters that the file lacks.
    fn missing(&self, hp: &Hparams, rope: &Map<String, Value>) -> Option<String> {
        let number = |key: &str| rope.get(key).and_then(Value::as_f64);
        let written = self.metadata.get_str(&format!("{}.rope.scaling.type", self.arch));
        let is = |kind: &str| written == Some(kind);
        let factor = number("factor");
        match kind(rope) {
            kind @ ("linear" | "yarn") if !is(kind) || self.key("factor").is_none() => {
                // A factor of one scales nothing.
                (factor != Some(1.0)).then(|| format!("{kind} scaling has no key in a file of {}", self.arch))
            }
            "yarn" => self.missing_of_yarn(rope, factor.unwrap_or(1.0)),
            "longrope" | "su" if !(self.has_tensor)("rope_factors_long.weight") => Some(format!(
                "the factors of LongRoPE (long_factor, short_factor) have no tensors in a file of {}",
                self.arch
            )),
            "longrope" | "su" => self.missing_of_longrope(hp, rope),
            kind @ ("llama3" | "proportional") if !(self.has_tensor)("rope_freqs.weight") => {
                Some(format!("{kind} scaling has no tensor in a file of {}", self.arch))
            }
            // Hunyuan's is written as another base.
            "dynamic" if !self.arch.starts_with("hunyuan") => Some(format!(
                "dynamic scaling beyond the trained context (factor {}) has no key in GGUF",
                factor.unwrap_or(1.0)
            )),
            _ => None,
        }
    }

    fn missing_of_yarn(&self, rope: &Map<String, Value>, factor: f64) -> Option<String> {
        let number = |key: &str| rope.get(key).and_then(Value::as_f64);
        let other =
            |key: &str, usual: f64| number(key).is_some_and(|x| (x - usual).abs() > SAME * usual.abs());
        let mut keys: Vec<&str> = Vec::new();
        if !READ_RAMP.contains(&self.arch) {
            keys.extend(
                RAMP.iter()
                    .filter(|(key, usual)| other(key, *usual))
                    .map(|(key, _)| *key),
            );
        }
        let usual = if factor > 1.0 {
            0.1 * factor.ln() + 1.0
        } else {
            1.0
        };
        keys.extend(
            ["attention_factor", "attn_factor"]
                .into_iter()
                .filter(|key| other(key, usual)),
        );
        let scales = number("mscale").zip(number("mscale_all_dim"));
        if scales.is_some() && self.key("yarn_log_multiplier").is_none() {
            keys.extend(["mscale", "mscale_all_dim"]);
        }
        if rope.get("truncate") == Some(&Value::Bool(false)) {
            keys.push("truncate");
        }
        (!keys.is_empty()).then(|| {
            format!(
                "llama.cpp does not read YaRN's {} of {}",
                keys.join(", "),
                self.arch
            )
        })
    }

    fn missing_of_longrope(&self, hp: &Hparams, rope: &Map<String, Value>) -> Option<String> {
        let of_model = |key: &str| hp.opt_f64(&[key]).ok().flatten();
        let most = of_model("max_position_embeddings")?;
        let original = rope
            .get("original_max_position_embeddings")
            .and_then(Value::as_f64)?;
        let mut keys = Vec::new();
        if original != most && self.key("original_context_length").is_none() {
            keys.push("original_max_position_embeddings");
        }
        if original > 1.0 && most > original && self.key("attn_factor").is_none() {
            keys.push("attention factor");
        }
        (!keys.is_empty()).then(|| {
            format!(
                "LongRoPE's {} has no key in a file of {}",
                keys.join(", "),
                self.arch
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde_json::json;

    use super::*;
    use crate::arch::rules::rope;
    use crate::arch::{ARCHITECTURES, Keys, complete};

    fn hparams(config: Value) -> Hparams {
        let mut whole = json!({"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 64,
            "num_attention_heads": 4, "max_position_embeddings": 4096});
        for (key, value) in config.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let whole = whole.as_object().cloned().unwrap();
        Hparams::new(PathBuf::from("config.json"), complete(whole)).unwrap()
    }

    /// Notes on a configuration that is converted to this architecture.
    fn notes(arch: &str, config: Value) -> crate::Result<Vec<String>> {
        let architecture = ARCHITECTURES.iter().find(|a| a.gguf == arch).unwrap();
        let hp = hparams(config);
        let mut metadata = Metadata::new();
        let mut keys = Keys {
            arch: architecture.gguf,
            metadata: &mut metadata,
            file_type: 0,
            dir: Path::new(""),
            dense: &[],
            place: &|_| None,
            number: &|_| Ok(None),
            shape: &|_| None,
            first: &|_| Ok(None),
            integers: &|_| Ok(None),
            shape_ending: &|_| None,
            zero_rows: &|_, _| Ok(Vec::new()),
        };
        rope::write_keys(&hp, &mut keys)?;
        let tensors = (architecture.generated)(&hp)?;
        let has = |name: &str| tensors.iter().any(|t| t.name == name);
        Ok(dropped(&hp, architecture, &metadata, &has))
    }

    fn none(arch: &str, config: Value) {
        let found = notes(arch, config.clone()).unwrap();
        assert!(found.is_empty(), "{arch} {config}: {found:?}");
    }

    fn one(arch: &str, config: Value, parts: &[&str]) {
        let found = notes(arch, config.clone()).unwrap();
        assert_eq!(found.len(), 1, "{arch} {config}: {found:?}");
        for part in parts {
            assert!(found[0].contains(part), "{part:?} is not in {found:?}");
        }
    }

    #[test]
    fn what_is_written_needs_no_word() {
        for arch in ["llama", "qwen2", "granite", "deepseek2", "gpt-oss"] {
            none(arch, json!({}));
            none(arch, json!({"rope_scaling": null}));
            none(arch, json!({"rope_scaling": {"type": "linear", "factor": 2.0}}));
            none(
                arch,
                json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": 32, "beta_slow": 1.0,
                "original_max_position_embeddings": 1024}}),
            );
            none(
                arch,
                json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 1.138629}}),
            );
        }
        none(
            "llama",
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}),
        );
        none(
            "qwen2vl",
            json!({"rope_scaling": {"type": "mrope", "mrope_section": [4, 2, 2]}}),
        );
        none(
            "hunyuan-moe",
            json!({"rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0}}),
        );
        none(
            "minicpm",
            json!({"rope_scaling": {"rope_type": "longrope", "long_factor": [1.0], "short_factor": [1.0],
            "original_max_position_embeddings": 4096}}),
        );
        none(
            "mistral3",
            json!({"rope_parameters": {"type": "yarn", "factor": 16.0, "beta_fast": 4.0}}),
        );
        none(
            "gemma3",
            json!({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}),
        );
        none(
            "gemma3",
            json!({"rope_parameters": {"full_attention": {"rope_theta": 1e6},
            "sliding_attention": {"rope_theta": 10000.0}}}),
        );
    }

    /// Transformers 5 takes OLMo 3's `rope_theta` for the layers without a window alone.
    #[test]
    fn a_base_that_the_graph_does_not_read_is_said() {
        let bases = |full: f64, local: f64| {
            json!({"rope_parameters": {"full_attention": {"rope_theta": full},
                "sliding_attention": {"rope_theta": local}}})
        };
        let words = [
            "sliding_attention: rope_theta is 500000",
            "olmo2",
            "full_attention, 10000",
        ];
        one("olmo2", bases(1e4, 5e5), &words);
        none("olmo2", bases(5e5, 5e5));
    }

    #[test]
    fn what_is_dropped_is_said() {
        let longrope =
            json!({"rope_scaling": {"type": "longrope", "long_factor": [2.0], "short_factor": [1.0]}});
        for arch in ["llama", "qwen2", "granite"] {
            one(arch, longrope.clone(), &["LongRoPE", arch]);
        }
        one(
            "qwen2",
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}),
            &["llama3", "qwen2"],
        );
        one(
            "llama",
            json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
            &["dynamic", "factor 2"],
        );
        one(
            "llama",
            json!({"rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": 0.5}}),
            &["proportional"],
        );
        one("llama", json!({"rope_scaling": {"type": "linear"}}), &["linear"]);
        one(
            "llama",
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": 16.0, "attention_factor": 1.5}}),
            &["beta_fast, attention_factor"],
        );
        one(
            "gpt-oss",
            json!({"rope_scaling": {"type": "yarn", "factor": 32.0, "truncate": false}}),
            &["truncate"],
        );
        one(
            "llama",
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.7}}),
            &["mscale"],
        );
        one(
            "minicpm",
            json!({"max_position_embeddings": 8192, "rope_scaling": {"rope_type": "longrope",
            "long_factor": [1.0], "short_factor": [1.0], "original_max_position_embeddings": 4096}}),
            &["original_max_position_embeddings, attention factor"],
        );
        one(
            "gemma3",
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"},
            "sliding_attention": {"rope_type": "yarn", "factor": 2.0}}}),
            &["sliding_attention", "yarn"],
        );
    }

    #[test]
    fn unknown_kinds_are_refused_by_name() {
        for kind in [json!("ntk"), json!(7)] {
            let error = notes("llama", json!({"rope_scaling": {"rope_type": kind}}))
                .unwrap_err()
                .to_string();
            assert!(error.contains(&format!("found {kind}")), "{error}");
        }
    }

    #[test]
    fn two_spellings_that_differ_are_said() {
        let both = |old: Value, new: Value| {
            let config = json!({"rope_scaling": old, "rope_parameters": new});
            contradiction(config.as_object().unwrap(), &hparams(config.clone()))
        };
        let yarn = json!({"type": "yarn", "factor": 4.0});
        assert_eq!(
            both(
                yarn.clone(),
                json!({"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6})
            ),
            None
        );
        let said = both(yarn.clone(), json!({"rope_type": "default", "rope_theta": 1e6})).unwrap();
        assert!(said.contains("(rope_type); rope_scaling is used"), "{said}");
        let said = both(yarn, json!({"rope_type": "yarn", "factor": 8.0})).unwrap();
        assert!(said.contains("(factor); rope_scaling is used"), "{said}");
    }
}
