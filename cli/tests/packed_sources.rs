//! Weights packed in bytes and words: read by the format that packed them, or refused by name; never as numbers.

use crate::support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::directory::{Tensors, configure, model, ramp};
use support::{fails, succeeds, text};

const UP: &str = "model.layers.0.mlp.up_proj";

/// The tensors of a directory but one, with more in its place.
fn replace(dir: &Path, gone: &str, more: &[(String, &str, Vec<u64>, Vec<u8>)]) {
    let path = dir.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut tensors = Tensors::default();
    for (name, entry) in header.as_object().unwrap() {
        let numbers = |key: &str| -> Vec<u64> {
            entry[key]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap())
                .collect()
        };
        let at = numbers("data_offsets");
        let data = &bytes[8 + length..][at[0] as usize..at[1] as usize];
        if name != gone {
            tensors.add(name, entry["dtype"].as_str().unwrap(), &numbers("shape"), data);
        }
    }
    for (name, dtype, shape, data) in more {
        tensors.add(name, dtype, shape, data);
    }
    tensors.write(&path);
}

/// The weights of `up_proj` after a conversion.
fn converted(dir: &Path) -> Vec<f32> {
    let out = dir.join("out.gguf");
    succeeds(&["convert", text(dir), text(&out), "--outtype", "f32"]);
    let file = gguf::GgufModel::open(&out).unwrap();
    let at = file.find("blk.0.ffn_up.weight").unwrap();
    let info = file.info(at);
    assert_eq!(info.shape, [32, 32]);
    let bytes = file.bytes(at, 0..info.size_bytes()).unwrap();
    let mut values = vec![0.0; 1024];
    quants::decode(info.ty, &bytes, &mut values).unwrap();
    values
}

const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The value of code `i` of a tensor whose bytes are `byte(i)`.
fn fp4(bytes: &[u8], i: usize) -> f32 {
    let code = bytes[i / 2] >> (4 * (i % 2)) & 15;
    let value = E2M1[usize::from(code & 7)];
    if code & 8 == 0 { value } else { -value }
}

/// Quark's MXFP4, and a group of such tensors in a checkpoint that is FP8 with blocks otherwise.
#[test]
fn four_bit_floats_beside_exponents() {
    let codes: Vec<u8> = (0..512).map(|i| (i * 37 % 251) as u8).collect();
    let scales: Vec<u8> = (0..32).map(|i| 120 + (i % 9) as u8).collect();
    let fp8 = json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    for (config, suffix, dtype, exponents) in [
        (json!({"quant_method": "quark"}), "weight_scale", "U8", "U8"),
        (json!({"quant_method": "quark"}), "weight_scale", "U8", "F8_E8M0"),
        (fp8.clone(), "weight_scale_inv", "U8", "U8"),
        (fp8.clone(), "weight_scale_inv", "I8", "F8_E8M0"),
    ] {
        let dir = model(ramp);
        configure(dir.path(), "quantization_config", config);
        let more = [
            (format!("{UP}.weight"), dtype, vec![32, 16], codes.clone()),
            (format!("{UP}.{suffix}"), exponents, vec![32, 1], scales.clone()),
        ];
        replace(dir.path(), &format!("{UP}.weight"), &more);
        let values = converted(dir.path());
        for (i, value) in values.iter().enumerate() {
            let scale = 2f32.powi(i32::from(scales[i / 32]) - 127);
            assert_eq!(*value, fp4(&codes, i) * scale, "{suffix} {i}");
        }
    }
    // Bytes that no format explains.
    for (shape, scales) in [
        (vec![32, 32], vec![32u64, 1]),
        (vec![32, 16], vec![32, 16]),
        (vec![32, 32], vec![1, 1]),
    ] {
        let dir = model(ramp);
        configure(dir.path(), "quantization_config", fp8.clone());
        let bytes = |shape: &[u64]| vec![120; shape.iter().product::<u64>() as usize];
        let more = [
            (format!("{UP}.weight"), "U8", shape.clone(), bytes(&shape)),
            (
                format!("{UP}.weight_scale_inv"),
                "U8",
                scales.clone(),
                bytes(&scales),
            ),
        ];
        replace(dir.path(), &format!("{UP}.weight"), &more);
        fails(
            &["convert", text(dir.path()), "--outtype", "f32"],
            &[&format!("{UP}.weight"), "MXFP4"],
        );
    }
    // Integers without anything beside them.
    for dtype in ["U8", "I8", "I32"] {
        let dir = model(ramp);
        let width = if dtype == "I32" { 4 } else { 1 };
        let more = [(format!("{UP}.weight"), dtype, vec![32, 32], vec![1; 1024 * width])];
        replace(dir.path(), &format!("{UP}.weight"), &more);
        fails(
            &["convert", text(dir.path()), "--outtype", "f32"],
            &[&format!("{UP}.weight"), dtype],
        );
    }
}

/// AutoRound's tensors: packed as GPTQ packs them, with zero points less one or as they are, or as AWQ.
#[test]
fn auto_round() {
    let field = |i: usize| (i * 7 % 16) as u32;
    let words = |fields: &dyn Fn(usize) -> u32, n: usize| -> Vec<u8> {
        let word = |w: usize| (0..8).fold(0u32, |word, j| word | fields(w * 8 + j) << (4 * j));
        (0..n).flat_map(|w| word(w).to_le_bytes()).collect()
    };
    // Word (i, o) has inputs 8 i to 8 i + 7 of output o.
    let weight = |o: usize, i: usize| field(i * 3 + o);
    let qweight: Vec<u8> = (0..4 * 32)
        .flat_map(|w| {
            let (row, o) = (w / 32, w % 32);
            (0..8)
                .fold(0u32, |word, j| word | weight(o, row * 8 + j) << (4 * j))
                .to_le_bytes()
        })
        .collect();
    let scales: Vec<u8> = (0..32)
        .flat_map(|_| half::f16::from_f32(0.5).to_le_bytes())
        .collect();
    for (method, format, stored, zero) in [
        ("auto-round", "auto_round:auto_gptq", 7, 8),
        ("intel/auto-round", "auto_round:gptq", 7, 8),
        ("auto-round", "auto_round", 8, 8),
        ("auto-round", "auto_round:exllamav2", 8, 8),
    ] {
        let dir = model(ramp);
        let config = json!({"quant_method": method, "packing_format": format, "bits": 4, "group_size": 32});
        configure(dir.path(), "quantization_config", config);
        let more = [
            (format!("{UP}.qweight"), "I32", vec![4, 32], qweight.clone()),
            (format!("{UP}.qzeros"), "I32", vec![1, 4], words(&|_| stored, 4)),
            (format!("{UP}.scales"), "F16", vec![1, 32], scales.clone()),
        ];
        replace(dir.path(), &format!("{UP}.weight"), &more);
        for (at, value) in converted(dir.path()).iter().enumerate() {
            let expected = (weight(at / 32, at % 32) as f32 - zero as f32) * 0.5;
            assert_eq!(*value, expected, "{format} {at}");
        }
    }
    let dir = model(ramp);
    let config = json!({"quant_method": "auto-round", "packing_format": "auto_round:auto_awq", "bits": 4});
    configure(dir.path(), "quantization_config", config);
    // AWQ packs outputs, each eight of which have an order of their own.
    let places = [0, 4, 1, 5, 2, 6, 3, 7];
    let packed: Vec<u8> = (0..32 * 4)
        .flat_map(|w| {
            let (i, o) = (w / 4, w % 4 * 8);
            (0..8)
                .fold(0u32, |word, j| word | weight(o + j, i) << (4 * places[j]))
                .to_le_bytes()
        })
        .collect();
    let more = [
        (format!("{UP}.qweight"), "I32", vec![32, 4], packed),
        (format!("{UP}.qzeros"), "I32", vec![1, 4], words(&|_| 8, 4)),
        (format!("{UP}.scales"), "F16", vec![1, 32], scales),
    ];
    replace(dir.path(), &format!("{UP}.weight"), &more);
    for (at, value) in converted(dir.path()).iter().enumerate() {
        assert_eq!(*value, (weight(at / 32, at % 32) as f32 - 8.0) * 0.5, "awq {at}");
    }
    let dir = model(ramp);
    let config =
        json!({"quant_method": "auto-round", "packing_format": "auto_round:llm_compressor", "bits": 4});
    configure(dir.path(), "quantization_config", config);
    fails(
        &["convert", text(dir.path())],
        &["packing_format", "llm_compressor"],
    );
}
