//! `rope_scaling` from the `rope.scaling.*` keys and the frequency factors.

use gguf::Value as GgufValue;
use serde_json::{Map, Value};

use super::number::number;
use crate::arch::llama3_frequency_factors;
use crate::source::{GgufSource, Source};

/// The tensor of Llama 3's frequency factors.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// Low and high factors that are tried, those of published models first.
const BOUNDS: [(f64, f64); 8] = [
    (1.0, 4.0),
    (1.0, 1.0),
    (1.0, 2.0),
    (1.0, 8.0),
    (1.0, 16.0),
    (1.0, 32.0),
    (2.0, 4.0),
    (2.0, 8.0),
];

/// Original context lengths that are tried: powers of two with these exponents, the usual one first.
const CONTEXTS: [u32; 15] = [13, 12, 14, 15, 11, 10, 9, 8, 16, 17, 7, 6, 5, 18, 19];

/// Factors this close to those of some parameters, relatively, were computed from them in another way.
const TOLERANCE: f32 = 1e-5;

/// `rope_scaling`, where the file has some.
///
/// # Errors
/// A kind that no configuration has, and frequency factors that no parameters give.
pub(super) fn scaling(source: &GgufSource, warnings: &mut Vec<String>) -> Result<Option<Value>, String> {
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
        Some(other) => {
            return Err(format!(
                "rope.scaling.type: expected linear or yarn, which can be exported, found {other:?}"
            ));
        }
    }
    match source.tensors().iter().position(|t| t.name == FACTORS) {
        Some(at) => llama3(source, at, warnings).map(Some),
        None => Ok(None),
    }
}

/// The parameters of Llama 3's scaling, found by trying.
fn llama3(source: &GgufSource, at: usize, warnings: &mut Vec<String>) -> Result<Value, String> {
    let metadata = source.metadata();
    let count = source.tensors()[at].shape.iter().product::<u64>();
    if count == 0 || count > u64::from(u16::MAX) || source.tensors()[at].shape.len() != 1 {
        return Err(format!(
            "tensor '{FACTORS}': expected one row of at most {} elements, found another shape",
            u16::MAX
        ));
    }
    let mut stored = vec![0f32; count as usize];
    source
        .read_rows(at, 0..1, &mut stored)
        .map_err(|e| e.to_string())?;
    let base = metadata.arch("rope.freq_base").and_then(GgufValue::as_f64);
    // The slowest rotation is the one that is stretched whole.
    let factor = stored.iter().copied().fold(1.0, f32::max);
    let limits = metadata.arch("context_length").and_then(GgufValue::as_f64);
    let divided = limits.map(|l| (l / f64::from(factor)).round());
    let contexts = CONTEXTS.iter().map(|&e| 2f64.powi(e as i32));
    let contexts: Vec<f64> = contexts.chain(divided).chain(limits).collect();
    let mut nearest: Option<(f32, Value)> = None;
    for context in contexts {
        for (low, high) in BOUNDS {
            let scaling = super::object([
                ("rope_type", "llama3".into()),
                ("factor", f64::from(factor).into()),
                ("low_freq_factor", low.into()),
                ("high_freq_factor", high.into()),
                ("original_max_position_embeddings", (context as u64).into()),
            ]);
            let Value::Object(mut rope) = scaling.clone() else {
                continue;
            };
            rope.insert("rope_theta".to_owned(), base.unwrap_or(10000.0).into());
            let Some(made) = llama3_frequency_factors(&rope, count as u32 * 2) else {
                continue;
            };
            let distances = made.iter().zip(&stored).map(|(a, b)| ((a - b) / b).abs());
            let distance = distances.fold(0.0, f32::max);
            if made == stored {
                return Ok(scaling);
            }
            if nearest.as_ref().is_none_or(|(d, _)| distance < *d) {
                nearest = Some((distance, scaling));
            }
        }
    }
    match nearest {
        Some((distance, scaling)) if distance <= TOLERANCE => {
            warnings.push(format!(
                "{FACTORS}: the parameters in config.json give other factors, by up to {distance:e} of them"
            ));
            Ok(scaling)
        }
        _ => Err(format!(
            "tensor '{FACTORS}': expected factors of Llama 3's scaling, found others"
        )),
    }
}
