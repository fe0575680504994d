//! Every architecture on a tiny model: conversion against the stock converter's file (its SHA-256), forward
//! pass against transformers' logits, or stock llama.cpp's for classes that transformers lacks.
//!
//! `py/architecture_fixtures.py` makes the fixtures, `py/architectures.py` compares larger models with real
//! tokenizers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType};
use reference::Model;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const TOKENS: u32 = 12;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The weights of the fixtures: multiples of 1/256 below 1/2 in magnitude, by place and tensor number.
fn weight(seed: u64, at: u64) -> f32 {
    let x = (at + seed * 1_000_003).wrapping_mul(6_364_136_223_846_793_005);
    let x = (x ^ (x >> 29)).wrapping_mul(1_442_695_040_888_963_407);
    ((x >> 57) as i64 * 2 - 127) as f32 / 256.0
}

/// Writes the model directory that a fixture describes.
fn make(fixture: &Value, dir: &Path) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (seed, (name, shape)) in fixture["tensors"].as_object().unwrap().iter().enumerate() {
        let dims: Vec<u64> = shape
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d.as_u64().unwrap())
            .collect();
        let norm = dims.len() == 1 && name.contains("norm") && !name.contains("bias");
        let start = data.len();
        for at in 0..dims.iter().product() {
            let x = weight(seed as u64, at);
            let x = if norm { x / 2.0 + 1.0 } else { x };
            data.extend_from_slice(&x.to_le_bytes());
        }
        let entry = json!({"dtype": "F32", "shape": dims, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    std::fs::write(dir.join("model.safetensors"), file).unwrap();
    std::fs::write(dir.join("config.json"), fixture["config"].to_string()).unwrap();
    let mut config = json!({"tokenizer_class": "LlamaTokenizer"});
    if !fixture["mmproj"].is_null() {
        config["added_tokens_decoder"] = json!({"385": {"content": "[IMG_BREAK]", "special": true}});
        let preprocessor = json!({
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_seq_length": 16,
            "size": {"longest_edge": 96},
        });
        std::fs::write(dir.join("preprocessor_config.json"), preprocessor.to_string()).unwrap();
    }
    std::fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
    let vocabulary = fixtures()
        .join("vocab")
        .join(fixture["tokenizer"].as_str().unwrap());
    for name in [
        "tokenizer.json",
        "tokenizer.model",
        "sentencepiece.bpe.model",
        "qwen.tiktoken",
        "hy.tiktoken",
        "rwkv_vocab_v20230424.txt",
    ] {
        if vocabulary.join(name).is_file() {
            std::fs::copy(vocabulary.join(name), dir.join(name)).unwrap();
        }
    }
    if let Some(pooling) = fixture["pooling"].as_str() {
        let modules = json!([{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]);
        std::fs::write(dir.join("modules.json"), modules.to_string()).unwrap();
        std::fs::create_dir(dir.join("1_Pooling")).unwrap();
        let config = json!({ "pooling_mode": pooling });
        std::fs::write(dir.join("1_Pooling/config.json"), config.to_string()).unwrap();
    }
}

/// Converts a directory; the file's digest.
fn convert(dir: &Path, out: &Path, mmproj: bool) -> Result<(HfSource, String), String> {
    let options = HfOptions {
        outtype: OutType::F32,
        pre_tokenizer: Some("gpt-2".to_owned()),
        mmproj,
        ..HfOptions::default()
    };
    let source = HfSource::open(dir, &options).map_err(|e| e.to_string())?;
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())?;
    let digest = Sha256::digest(std::fs::read(out).unwrap());
    Ok((source, digest.iter().map(|b| format!("{b:02x}")).collect()))
}

/// What differs, or nothing.
fn check(path: &Path) -> Result<(), String> {
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("model");
    std::fs::create_dir(&dir).unwrap();
    make(&fixture, &dir);
    let out = temporary.path().join("out.gguf");
    if let Some(expected) = fixture["mmproj"].as_str()
        && convert(&dir, &temporary.path().join("mmproj.gguf"), true)?.1 != expected
    {
        return Err("the converted image encoder is not the stock converter's".to_owned());
    }
    let (source, digest) = convert(&dir, &out, false)?;
    if digest != fixture["sha256"].as_str().unwrap() {
        return Err("the converted file is not the stock converter's".to_owned());
    }
    let embedding = path.with_extension("embedding");
    let logits = path.with_extension("logits");
    let architecture = source.metadata().architecture();
    let expected = [&embedding, &logits].into_iter().find(|p| p.is_file());
    let Some(expected) = expected.filter(|_| reference::architectures().any(|a| a == architecture)) else {
        return Ok(());
    };
    let bytes = std::fs::read(expected).unwrap();
    let expected: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    let model = Model::load(&out).map_err(|e| e.to_string())?;
    let rows = expected.len() / model.vocabulary();
    let tokens: Vec<u32> = (0..TOKENS).map(|i| (i * 29 + i * i * 7) % 300).collect();
    let got = match embedding.is_file() {
        true => model.embed(&[&tokens]).map(|vectors| vectors.concat()),
        false => model
            .forward(&[&tokens], tokens.len() - rows..tokens.len(), None)
            .map(|matrix| matrix.data),
    };
    let got = got.map_err(|e| e.to_string())?;
    assert_eq!(got.len(), expected.len());
    let square = |x: f64| x * x;
    let pairs = got.iter().zip(&expected);
    let difference: f64 = pairs.map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let size: f64 = expected.iter().map(|b| square(f64::from(*b))).sum();
    match (difference / size).sqrt() {
        far if far.is_nan() || far > 1e-3 => Err(format!("the logits are {far:.1e} from the expected ones")),
        _ => Ok(()),
    }
}

/// What `py/architectures.py` printed last, of all its cases.
const MATRIX: &str = include_str!("../digests/architectures.txt");

#[test]
fn every_listed_class_was_compared() {
    let rows = || MATRIX.lines().filter(|l| !l.starts_with(' ')).skip(1);
    let compared: HashSet<&str> = rows()
        .filter_map(|row| {
            let columns: Vec<&str> = row.split_whitespace().collect();
            (columns.get(2) == Some(&"equal")).then(|| columns[1])
        })
        .collect();
    let missing: Vec<&str> = convert::arch::supported_classes()
        .into_iter()
        .map(|(class, _)| class)
        .chain(convert::arch::supported_encoders())
        .filter(|class| !compared.contains(class))
        .collect();
    assert!(
        missing.is_empty(),
        "without a case in architectures.py: {missing:?}"
    );
    // A row says FAR where logits are further from the expected ones than 1e-3.
    assert!(!MATRIX.contains("DIFFERS") && !MATRIX.contains("FAR"));
}

#[test]
fn every_architecture_equals_the_references() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(fixtures().join("architectures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            compared += 1;
            if let Err(difference) = check(&path) {
                wrong.push(format!("{}: {difference}", path.file_stem().unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 40, "{compared} fixtures");
}
