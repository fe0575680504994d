//! Rotary position embeddings: the spellings of their parameters, the keys, and the frequency factors.

use serde_json::{Map, Value};

use super::multimodal::ROPE_SCALING;
use super::rope_notes::KINDS;
use crate::Result;
use crate::arch::{Generated, Hparams, Keys};

/// Sections of a head's dimensions that are rotated by different positions: time, height, width, one more.
const ROPE_SECTIONS: usize = 4;

/// RoPE kinds whose parameters carry the context length of the original training, which is the whole where they do not.
const SCALED: [&str; 2] = ["yarn", "longrope"];

/// The context length of the original training.
const ORIGINAL_LENGTH: &str = "original_max_position_embeddings";

/// Brings the spellings that `config.json` files use to the one that `transformers` 5 writes: an object
/// `rope_parameters` with `rope_type` and `rope_theta`.
pub(in crate::arch) fn standardize(config: &mut Map<String, Value>, default_theta: f64) {
    let theta = config
        .get("rope_theta")
        .cloned()
        .unwrap_or_else(|| Value::from(default_theta));
    let scaling = match config.shift_remove(ROPE_SCALING) {
        Some(Value::Object(map)) if !map.is_empty() => Some(map),
        _ => None,
    };
    let mut rope = scaling.unwrap_or_else(|| match config.get("rope_parameters") {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    });
    // A null stays none, as transformers has it.
    if !theta.is_null() {
        rope.entry("rope_theta").or_insert(theta);
    }
    if let Some(partial) = config.get("partial_rotary_factor").filter(|v| !v.is_null()) {
        rope.entry("partial_rotary_factor").or_insert(partial.clone());
    }
    let kind = rope
        .get("type")
        .cloned()
        .unwrap_or_else(|| Value::from("default"));
    rope.entry("rope_type").or_insert(kind);
    if let Some(length) = config.get(ORIGINAL_LENGTH).filter(|v| !v.is_null()) {
        rope.entry(ORIGINAL_LENGTH).or_insert(length.clone());
    }
    if rope
        .get("rope_type")
        .and_then(Value::as_str)
        .is_some_and(|t| SCALED.contains(&t))
    {
        let length = config.get("max_position_embeddings").cloned();
        rope.entry(ORIGINAL_LENGTH)
            .or_insert(length.unwrap_or(Value::Null));
    }
    config.insert("rope_parameters".to_owned(), Value::Object(rope));
}

/// The RoPE parameters of a configuration that may never have been standardized.
pub(in crate::arch) fn parameters(config: &Map<String, Value>) -> Map<String, Value> {
    let given = config.get("rope_parameters").or_else(|| config.get(ROPE_SCALING));
    let mut rope = given.and_then(Value::as_object).cloned().unwrap_or_default();
    let first = |keys: &[&str]| {
        keys.iter()
            .find_map(|k| config.get(*k))
            .filter(|v| !v.is_null())
            .cloned()
    };
    if let Some(theta) = first(&[
        "global_rope_theta",
        "rope_global_theta",
        "rope_theta_global",
        "rope_theta",
        "rotary_emb_base",
    ]) {
        rope.entry("rope_theta").or_insert(theta);
    }
    if let Some(kind) = rope.get("type").filter(|v| !v.is_null()).cloned() {
        rope.entry("rope_type").or_insert(kind);
    }
    if let Some(factor) = first(&["partial_rotary_factor", "rope_pct", "rope_percent"]) {
        rope.entry("partial_rotary_factor").or_insert(factor);
    }
    if let Some(length) = first(&["original_max_position_embeddings"]) {
        rope.entry("original_max_position_embeddings").or_insert(length);
    }
    rope
}

/// Writes the scaling keys and the frequency base.
pub(in crate::arch) fn write_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    // Some configurations have the parameters of both kinds of layers, each by itself.
    let inside = |kind: &str| hp.rope().get(kind).and_then(Value::as_object);
    let rope = inside("full_attention").unwrap_or(hp.rope());
    let number = |key: &str| -> Result<Option<f32>> {
        rope.get(key)
            .filter(|v| !v.is_null())
            .map(|v| hp.to_f32(key, v))
            .transpose()
    };
    let kind = match rope.get("rope_type") {
        None | Some(Value::Null) => "default",
        Some(Value::String(kind)) => kind,
        Some(other) => return Err(hp.error(format!("rope_type: expected a name, found {other}"))),
    };
    let factor = number("factor")?;
    match (kind, factor) {
        ("linear", Some(factor)) => {
            keys.set("rope.scaling.type", "linear");
            keys.set("rope.scaling.factor", factor);
        }
        ("yarn", Some(factor)) => {
            keys.set("rope.scaling.type", "yarn");
            keys.set("rope.scaling.factor", factor);
            let key = "original_max_position_embeddings";
            let length = rope.get(key).unwrap_or(&Value::Null);
            keys.set("rope.scaling.original_context_length", hp.to_u32(key, length)?);
            keys.set_some("rope.scaling.yarn_ext_factor", number("extrapolation_factor")?);
            let attention = if rope.contains_key("attention_factor") {
                "attention_factor"
            } else {
                "attn_factor"
            };
            keys.set_some("rope.scaling.yarn_attn_factor", number(attention)?);
            keys.set_some("rope.scaling.yarn_beta_fast", number("beta_fast")?);
            keys.set_some("rope.scaling.yarn_beta_slow", number("beta_slow")?);
        }
        ("su" | "longrope", _) => keys.set("rope.scaling.type", "longrope"),
        (kind, _) if KINDS.contains(&kind) || kind.eq_ignore_ascii_case("llama3") => {}
        (kind, _) => {
            return Err(hp.error(format!(
                "rope_type: expected one of {}, found {kind:?}",
                KINDS.join(", ")
            )));
        }
    }
    if let Some(sections) = rope.get("mrope_section").and_then(Value::as_array) {
        let section = |i: usize| sections.get(i).map_or(Ok(0), |v| hp.to_u32("mrope_section", v));
        let sections = (0..ROPE_SECTIONS).map(|i| Ok(i32::try_from(section(i)?).unwrap_or(i32::MAX)));
        keys.set("rope.dimension_sections", sections.collect::<Result<Vec<i32>>>()?);
    }
    keys.set_some("rope.freq_base", number("rope_theta")?);
    let local = inside("sliding_attention").and_then(|rope| rope.get("rope_theta"));
    let local = local.map(|theta| hp.to_f32("rope_theta", theta)).transpose()?;
    keys.set_some("rope.freq_base_swa", local.or(hp.opt_f32(&LOCAL_BASES)?));
    Ok(())
}

/// The spellings of the frequency base of layers with a sliding window.
const LOCAL_BASES: [&str; 5] = [
    "local_rope_theta",
    "rope_local_theta",
    "rope_theta_local",
    "swa_rope_theta",
    "rope_local_base_freq",
];

/// LongRoPE's divisors of each frequency, for long and for short contexts, as tensors; none where the
/// configuration has none.
pub(in crate::arch) fn long_factors(hp: &Hparams) -> Result<Vec<Generated>> {
    let list = |key: &str| -> Result<Option<Vec<f32>>> {
        let Some(value) = hp.rope().get(key).filter(|v| !v.is_null()) else {
            return Ok(None);
        };
        let numbers = value.as_array().map(|a| a.iter().map(|v| hp.to_f32(key, v)));
        let numbers =
            numbers.ok_or_else(|| hp.error(format!("{key}: expected a list of numbers, found none")))?;
        Ok(Some(numbers.collect::<Result<Vec<f32>>>()?).filter(|n| !n.is_empty()))
    };
    match (list("long_factor")?, list("short_factor")?) {
        (None, None) => Ok(Vec::new()),
        (Some(long), Some(short)) if long.len() == short.len() => Ok(vec![
            Generated {
                name: "rope_factors_long.weight",
                values: long,
            },
            Generated {
                name: "rope_factors_short.weight",
                values: short,
            },
        ]),
        _ => Err(hp.error(
            "long_factor and short_factor: expected two lists of one length, found others".to_owned(),
        )),
    }
}

/// The factors by which Llama 3's scaling divides each frequency, as the tensor `rope_freqs.weight`.
pub(in crate::arch) fn llama3_factors(hp: &Hparams) -> Result<Vec<Generated>> {
    llama3_factors_by(hp, LLAMA3_FACTOR)
}

/// For graphs that have no place for the factors: none, and Llama 3's scaling is refused.
pub(in crate::arch) fn without_llama3_factors(hp: &Hparams) -> Result<Vec<Generated>> {
    match llama3_factors(hp)?.is_empty() {
        true => Ok(Vec::new()),
        false => {
            Err(hp.error("rope_type: found llama3, which the graph of this architecture has not".to_owned()))
        }
    }
}

/// The same with another `factor` where the configuration has none.
pub(in crate::arch) fn llama3_factors_by(hp: &Hparams, factor: f64) -> Result<Vec<Generated>> {
    let mut rope = hp.rope().clone();
    rope.entry("factor").or_insert(factor.into());
    let kind = rope.get("rope_type").and_then(Value::as_str).unwrap_or("");
    if !kind.eq_ignore_ascii_case("llama3") {
        return Ok(Vec::new());
    }
    let keys = [
        "rope_theta",
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ];
    for key in keys {
        if let Some(v) = rope.get(key).filter(|v| !v.is_number()) {
            return Err(hp.error(format!("{key}: expected a number, found {v}")));
        }
    }
    let dim = hp.head_dim()?;
    let values = llama3_frequency_factors(&rope, dim)
        .ok_or_else(|| hp.error(format!("head_dim: expected at most {MAX_HEAD_DIM}, found {dim}")))?;
    Ok(vec![Generated {
        name: "rope_freqs.weight",
        values,
    }])
}

/// The factors of these parameters for heads of `dim`, `None` when they are too large.
pub(crate) fn llama3_frequency_factors(rope: &Map<String, Value>, dim: u32) -> Option<Vec<f32>> {
    if dim > MAX_HEAD_DIM {
        return None;
    }
    let number = |key: &str, default: f64| rope.get(key).and_then(Value::as_f64).unwrap_or(default);
    let base = number("rope_theta", 10000.0);
    let factor = number("factor", LLAMA3_FACTOR);
    let low = number("low_freq_factor", 1.0);
    let high = number("high_freq_factor", 4.0);
    let context = number("original_max_position_embeddings", 8192.0);
    let (low_wavelen, high_wavelen) = (context / low, context / high);
    let values = (0..dim)
        .step_by(2)
        .map(|i| {
            // The stock converter computes with single-precision tensors of PyTorch, which divides a
            // number by a tensor by multiplying with the reciprocal.
            let frequency = (base as f32).powf(i as f32 / dim as f32).recip();
            let wavelen = frequency.recip() * std::f32::consts::TAU;
            if wavelen < high_wavelen as f32 {
                1.0
            } else if wavelen > low_wavelen as f32 {
                factor as f32
            } else {
                let smooth = (wavelen.recip() * context as f32 - low as f32) / (high - low) as f32;
                ((1.0 - smooth) / factor as f32 + smooth).recip()
            }
        })
        .collect();
    Some(values)
}

/// Llama 3.1's.
const LLAMA3_FACTOR: f64 = 8.0;
/// Largest head dimension accepted.
const MAX_HEAD_DIM: u32 = 1 << 16;
