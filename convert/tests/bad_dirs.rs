//! Model directories to spoil, and the one message that each has to give.

use std::path::Path;

use quantsmith_convert::source::hf::{HfOptions, HfSource};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with the configuration of a one-block Llama.
pub(crate) fn model_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
        "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 4,
    });
    write_json(&dir.path().join("config.json"), &config);
    dir
}

pub(crate) fn write_json(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

pub(crate) fn change_config(dir: &TempDir, key: &str, value: Value) {
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    write_json(&path, &config);
}

/// A safetensors file with this header and `data` zero bytes.
pub(crate) fn write_safetensors(path: &Path, header: &Value, data: usize) {
    write_raw(path, header.to_string().as_bytes(), None, data);
}

pub(crate) fn write_raw(path: &Path, header: &[u8], length: Option<u64>, data: usize) {
    let mut bytes = length.unwrap_or(header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(bytes.len() + data, 0);
    std::fs::write(path, bytes).unwrap();
}

pub(crate) fn f32_tensor(shape: &[u64], begin: u64) -> Value {
    let end = begin + 4 * shape.iter().product::<u64>();
    json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]})
}

/// The message of opening the directory, which must hold all of `words`.
pub(crate) fn expect_error(dir: &Path, words: &[&str]) {
    let error = HfSource::open(dir, &HfOptions::default())
        .expect_err("bad input was accepted")
        .to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
    assert!(!error.contains('\n'), "more than one line: {error:?}");
}

pub(crate) fn with_header(header: Value, data: usize, words: &[&str]) {
    let dir = model_dir();
    write_safetensors(&dir.path().join("model.safetensors"), &header, data);
    expect_error(dir.path(), words);
}

/// The configuration with a vocabulary.
pub(crate) fn model_dir_with_vocabulary() -> TempDir {
    let dir = model_dir();
    let bytes = quantsmith_convert::fuzzing::BYTE_LEVEL;
    std::fs::write(dir.path().join("tokenizer.json"), bytes).unwrap();
    change_config(&dir, "vocab_size", json!(5));
    dir
}
