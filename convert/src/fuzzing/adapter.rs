//! Changes of each weight by an adapter, computed in double precision from its files, beside what llama.cpp adds by the
//! converted file.

use std::path::Path;

use gguf::Value as GgufValue;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use crate::source::Source;
use crate::source::hf::{AdapterOptions, AdapterSource};

/// Elements of a product beyond which it is not computed.
const MAX_PRODUCT: usize = 1 << 14;

/// Names of Llama's weights on both sides, and whether the rows are those of query or key heads.
const WEIGHTS: [(&str, &str, Heads); 7] = [
    ("self_attn.q_proj", "attn_q", Heads::Query),
    ("self_attn.k_proj", "attn_k", Heads::Key),
    ("self_attn.v_proj", "attn_v", Heads::None),
    ("self_attn.o_proj", "attn_output", Heads::None),
    ("mlp.gate_proj", "ffn_gate", Heads::None),
    ("mlp.up_proj", "ffn_up", Heads::None),
    ("mlp.down_proj", "ffn_down", Heads::None),
];

#[derive(Clone, Copy, PartialEq)]
enum Heads {
    None,
    Query,
    Key,
}

/// Converts the adapter of a Llama (both in `dir`) and compares each pair's product with what PEFT would add to the
/// weight. Returns how many were compared, or the error of the conversion.
///
/// # Errors
/// The message of an adapter that is not converted.
///
/// # Panics
/// When a pair is missing, or its product is another one.
pub fn adapter_deltas(dir: &Path) -> Result<usize, String> {
    let options = AdapterOptions {
        base: Some(dir.to_path_buf()),
        ..AdapterOptions::default()
    };
    let source = AdapterSource::open(dir, &options).map_err(|e| e.to_string())?;
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap_or_default();
    let object = |name: &str| serde_json::from_slice::<Map<String, Value>>(&read(name)).unwrap_or_default();
    let (model, config) = (object("config.json"), object("adapter_config.json"));
    let bytes = read("adapter_model.safetensors");
    let Ok(file) = SafeTensors::deserialize(&bytes) else {
        return Ok(0);
    };
    let mut compared = 0;
    for name in file.names() {
        let Some(module) = name
            .strip_prefix("base_model.model.")
            .and_then(|n| n.strip_suffix(".lora_A.weight"))
        else {
            continue;
        };
        let Some((block, part)) = module
            .strip_prefix("model.layers.")
            .and_then(|n| n.split_once('.'))
        else {
            continue;
        };
        let Some((_, weight, heads)) = WEIGHTS.iter().find(|(hf, ..)| *hf == part) else {
            continue;
        };
        let other = format!("base_model.model.{module}.lora_B.weight");
        let (Some((a, a_shape)), Some((b, b_shape))) = (values(&file, name), values(&file, &other)) else {
            continue;
        };
        let (&[rank, inputs], &[outputs, _]) = (&a_shape[..], &b_shape[..]) else {
            continue;
        };
        if outputs * inputs > MAX_PRODUCT || outputs * inputs * rank > 16 * MAX_PRODUCT {
            continue;
        }
        let heads = match heads {
            Heads::None => 0,
            Heads::Query => number(&model, "num_attention_heads"),
            Heads::Key => number(&model, "num_key_value_heads").max(
                u64::from(model.get("num_key_value_heads").is_none_or(Value::is_null))
                    * number(&model, "num_attention_heads"),
            ),
        };
        let expected = product(
            &a,
            &b,
            (outputs, rank, inputs),
            pefts_scale(&config, module, rank),
        );
        let found = loaded(&source, &format!("blk.{block}.{weight}.weight"), rank);
        let size: f64 = 1e-30 + a.iter().chain(&b).fold(0.0, |m: f64, x| m.max(x.abs())).powi(2);
        let bound = 1e-5 * size * rank as f64 * pefts_scale(&config, module, rank).abs();
        if !bound.is_finite() || !(size as f32).is_finite() {
            continue;
        }
        for row in 0..outputs {
            for column in 0..inputs {
                let at = ggml_row(row, outputs, heads as usize) * inputs + column;
                let (e, f) = (expected[row * inputs + column], found[at]);
                assert!(
                    (e - f).abs() <= bound,
                    "{module} [{row}, {column}]: {f}, {e} expected"
                );
            }
        }
        compared += 1;
    }
    Ok(compared)
}

fn number(map: &Map<String, Value>, key: &str) -> u64 {
    map.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// The place of a stored row among ggml's, which alternate between the halves of a head.
fn ggml_row(row: usize, rows: usize, heads: usize) -> usize {
    if heads == 0 {
        return row;
    }
    let head = rows / heads;
    let (first, within) = (row / head * head, row % head);
    let half = head / 2;
    first
        + if within < half {
            2 * within
        } else {
            2 * (within - half) + 1
        }
}

/// `scaling` of PEFT's layer.
fn pefts_scale(config: &Map<String, Value>, module: &str, rank: usize) -> f64 {
    let patterns = config.get("alpha_pattern").and_then(Value::as_object);
    let own = patterns.into_iter().flatten().find(|(key, _)| {
        let expression = fancy_regex::Regex::new(&format!(r"^(?:(?:.*\.)?(?:{key})$)"));
        expression.is_ok_and(|e| e.is_match(module).unwrap_or(false))
    });
    let alpha = own.map(|(_, alpha)| alpha).or(config.get("lora_alpha"));
    let alpha = alpha.and_then(Value::as_f64).unwrap_or(f64::NAN);
    match config.get("use_rslora") {
        Some(Value::Bool(true)) => alpha / (rank as f64).sqrt(),
        _ => alpha / rank as f64,
    }
}

fn product(a: &[f64], b: &[f64], (outputs, rank, inputs): (usize, usize, usize), scale: f64) -> Vec<f64> {
    let mut out = vec![0.0; outputs * inputs];
    for (row, left) in b.chunks(rank).enumerate() {
        for (k, &x) in left.iter().enumerate() {
            for column in 0..inputs {
                out[row * inputs + column] += x * a[k * inputs + column] * scale;
            }
        }
    }
    out
}

/// llama.cpp's change of a weight: alpha / rank times the product of the two tensors.
fn loaded(source: &AdapterSource, weight: &str, rank: usize) -> Vec<f64> {
    let side = |suffix: &str| -> (Vec<f64>, Vec<u64>) {
        let name = format!("{weight}.{suffix}");
        let index = source.tensors().iter().position(|t| t.name == name);
        let index = index.unwrap_or_else(|| panic!("{name} is missing"));
        let shape = source.tensors()[index].shape.clone();
        let mut out = vec![0f32; shape.iter().product::<u64>() as usize];
        source
            .read_rows(index, 0..shape[1..].iter().product(), &mut out)
            .unwrap();
        (out.into_iter().map(f64::from).collect(), shape)
    };
    let ((a, a_shape), (b, b_shape)) = (side("lora_a"), side("lora_b"));
    assert_eq!((a_shape[1], b_shape[0]), (rank as u64, rank as u64), "{weight}");
    let Some(GgufValue::F32(alpha)) = source.metadata().get("adapter.lora.alpha") else {
        panic!("no adapter.lora.alpha")
    };
    assert!(*alpha != 0.0, "llama.cpp takes an alpha of 0 for none");
    let scale = f64::from(*alpha / rank as f32);
    product(&a, &b, (b_shape[1] as usize, rank, a_shape[0] as usize), scale)
}

/// The values of a tensor and its shape, where they can be compared.
fn values(file: &SafeTensors<'_>, name: &str) -> Option<(Vec<f64>, Vec<usize>)> {
    let view = file.tensor(name).ok()?;
    let values: Vec<f64> = match view.dtype() {
        Dtype::F32 => {
            let four = view.data().chunks_exact(4);
            four.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into())
                .collect()
        }
        Dtype::F16 => {
            let two = view.data().chunks_exact(2);
            two.map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f64())
                .collect()
        }
        _ => return None,
    };
    values
        .iter()
        .all(|x| x.is_finite())
        .then(|| (values, view.shape().to_vec()))
}
