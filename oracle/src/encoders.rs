//! The model directories that `fixtures/encoders` describes, made without Python.

use std::path::Path;

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::hf::{HfOptions, HfSource, OutType};
use serde_json::{Map, Value, json};

use crate::architectures::weight;

/// The types that the fixtures have digests of.
pub const KINDS: [(&str, OutType); 4] = [
    ("f32", OutType::F32),
    ("f16", OutType::F16),
    ("bf16", OutType::BF16),
    ("q8_0", OutType::Q8_0),
];

/// All fixtures, by name.
///
/// # Panics
/// When one is malformed.
pub fn fixtures() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/encoders");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (
            name,
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap(),
        )
    };
    paths.into_iter().map(read).collect()
}

/// The class by which a fixture's encoder is found: what the stock converter takes it for, by the encoder's own
/// configuration where that names one, else by that of the whole model.
///
/// # Panics
/// When the fixture names none.
pub fn class(fixture: &Value) -> &str {
    let config = &fixture["config"];
    let inner = config["vision_config"]["architectures"][0].as_str();
    let whole = config["architectures"][0].as_str();
    inner.or(whole).or(fixture["class"].as_str()).unwrap()
}

/// Writes the model directory that a fixture describes.
///
/// # Panics
/// When the fixture is malformed or the directory cannot be written.
pub fn make(fixture: &Value, dir: &Path) {
    let write = |name: &str, bytes: Vec<u8>| {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    std::fs::create_dir_all(dir).unwrap();
    if !fixture["config"].is_null() {
        write("config.json", fixture["config"].to_string().into_bytes());
    }
    for (name, content) in fixture["files"].as_object().unwrap() {
        write(name, content.to_string().into_bytes());
    }
    for (name, tensors) in fixture["tensors"].as_object().unwrap() {
        write(name, weights(tensors.as_object().unwrap()));
    }
}

/// A safetensors file of tensors with these names and shapes.
fn weights(tensors: &Map<String, Value>) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (seed, (name, shape)) in tensors.iter().enumerate() {
        let shape = shape.as_array().unwrap();
        let dims: Vec<u64> = shape.iter().map(|d| d.as_u64().unwrap()).collect();
        let is_positive = name.contains("running_var") || name.contains("cluster_usage");
        let is_offset = name.contains("bias") || name.contains("running");
        let is_scale = dims.len() == 1 && name.contains("norm") && !is_offset;
        let start = data.len();
        for at in 0..dims.iter().product() {
            let x = weight(seed as u64, at);
            let x = match (is_positive, is_scale) {
                (true, _) => x.abs() + 0.5,
                (_, true) => x / 2.0 + 1.0,
                _ => x,
            };
            data.extend_from_slice(&x.to_le_bytes());
        }
        let entry = json!({"dtype": "F32", "shape": dims, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    file
}

/// Opens the encoder of such a directory.
///
/// # Errors
/// Those of the source, as text.
pub fn open(dir: &Path, outtype: OutType) -> Result<HfSource, String> {
    let mmproj = true;
    let options = HfOptions::default().outtype(outtype).mmproj(mmproj);
    HfSource::open(dir, &options).map_err(|e| e.to_string())
}

/// Converts the encoder of such a directory.
///
/// # Errors
/// Those of the conversion, as text.
pub fn convert(dir: &Path, out: &Path, outtype: OutType) -> Result<(), String> {
    let source = open(dir, outtype)?;
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).map_err(|e| e.to_string())?;
    let done = execute(&source, &[plan], &PipelineOptions::default(), &|_| {});
    done.map_err(|e| e.to_string())
}
