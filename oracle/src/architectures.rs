//! The model directories that `fixtures/architectures` describes, made without Python.

use std::path::{Path, PathBuf};

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::{OutputPlan, PlannedTensor};
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType};
use serde_json::{Value, json};

/// The folder of the fixtures: NAME.json for each.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/architectures")
}

/// The weights of the fixtures: multiples of 1/256 below 1/2 in magnitude, by place and tensor number.
pub fn weight(seed: u64, at: u64) -> f32 {
    let x = (at + seed * 1_000_003).wrapping_mul(6_364_136_223_846_793_005);
    let x = (x ^ (x >> 29)).wrapping_mul(1_442_695_040_888_963_407);
    ((x >> 57) as i64 * 2 - 127) as f32 / 256.0
}

/// Where the directory of the model that a draft is of would be.
pub fn target_of(dir: &Path) -> PathBuf {
    dir.with_file_name("target")
}

/// Writes the model directory that a fixture describes, and beside it that of the target of a draft model.
///
/// # Panics
/// When the fixture is malformed or the directory cannot be written.
pub fn make(fixture: &Value, dir: &Path) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    let integers = |header: &mut serde_json::Map<String, Value>, data: &mut Vec<u8>| {
        for (name, dtype) in [("d2t", "I64"), ("t2d", "BOOL")] {
            let Some(count) = fixture["tensors"][name][0].as_u64() else {
                continue;
            };
            let start = data.len();
            for at in 0..count {
                match dtype {
                    "I64" => data.extend_from_slice(&at.to_le_bytes()),
                    _ => data.push(0),
                }
            }
            let entry = json!({"dtype": dtype, "shape": [count], "data_offsets": [start, data.len()]});
            header.insert(name.to_owned(), entry);
        }
    };
    let chameleon = fixture["config"]["swin_norm"] == json!(false);
    for (seed, (name, shape)) in fixture["tensors"].as_object().unwrap().iter().enumerate() {
        if name == "d2t" || name == "t2d" {
            continue;
        }
        let dims: Vec<u64> = shape
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d.as_u64().unwrap())
            .collect();
        let norm = dims.len() == 1 && name.contains("norm") && !name.contains("bias");
        let start = data.len();
        let elements: u64 = dims.iter().product();
        // The last rows of the embeddings may be zero.
        let zero = match name == "model.embed_tokens.weight" {
            true => fixture["zero_rows"].as_u64().unwrap_or(0) * dims[1],
            false => 0,
        };
        for at in 0..elements {
            if at >= elements - zero {
                data.extend_from_slice(&0f32.to_le_bytes());
                continue;
            }
            // Of the smaller Chameleon, the first head's norm is that of all.
            let at = match chameleon && dims.len() == 2 && name.contains("_norm.") {
                true => at % dims[1],
                false => at,
            };
            let x = weight(seed as u64, at);
            let x = if norm { x / 2.0 + 1.0 } else { x };
            data.extend_from_slice(&x.to_le_bytes());
        }
        let entry = json!({"dtype": "F32", "shape": dims, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    integers(&mut header, &mut data);
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    std::fs::write(dir.join("model.safetensors"), file).unwrap();
    std::fs::write(dir.join("config.json"), fixture["config"].to_string()).unwrap();
    // A draft model's vocabulary is its target's.
    let dir = match target_of(dir) {
        target if fixture["target"].is_object() => {
            std::fs::create_dir_all(&target).unwrap();
            std::fs::write(target.join("config.json"), fixture["target"].to_string()).unwrap();
            target
        }
        _ => dir.to_path_buf(),
    };
    let class = fixture["tokenizer_class"].as_str().unwrap_or("LlamaTokenizer");
    let mut config = json!({"tokenizer_class": class});
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
        .join("../vocab")
        .join(fixture["tokenizer"].as_str().unwrap());
    for name in [
        "tokenizer.json",
        "tokenizer.model",
        "sentencepiece.bpe.model",
        "qwen.tiktoken",
        "hy.tiktoken",
        "rwkv_vocab_v20230424.txt",
        "tokenizer.jsonl",
    ] {
        if vocabulary.join(name).is_file() {
            std::fs::copy(vocabulary.join(name), dir.join(name)).unwrap();
        }
    }
    if let Some(outputs) = fixture["dense"].as_u64() {
        let module = |kind: &str, path: &str| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
        let modules = json!([module("Transformer", ""), module("Dense", "1_Dense")]);
        std::fs::write(dir.join("modules.json"), modules.to_string()).unwrap();
        let inputs = fixture["config"]["hidden_size"].as_u64().unwrap();
        let folder = dir.join("1_Dense");
        std::fs::create_dir_all(&folder).unwrap();
        let config = json!({"in_features": inputs, "out_features": outputs, "bias": false,
            "activation_function": "torch.nn.modules.linear.Identity"});
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let count = inputs * outputs;
        let header = json!({"linear.weight": {"dtype": "F32", "shape": [outputs, inputs], "data_offsets": [0, 4 * count]}});
        let header = header.to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend((0..count).flat_map(|at| ((at % 61) as f32 / 64.0 - 0.5).to_le_bytes()));
        std::fs::write(folder.join("model.safetensors"), file).unwrap();
    }
    if let Some(pooling) = fixture["pooling"].as_str() {
        let modules = json!([{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]);
        std::fs::write(dir.join("modules.json"), modules.to_string()).unwrap();
        std::fs::create_dir(dir.join("1_Pooling")).unwrap();
        let config = json!({ "pooling_mode": pooling });
        std::fs::write(dir.join("1_Pooling/config.json"), config.to_string()).unwrap();
    }
}

/// Converts such a directory to a file of F32.
///
/// # Errors
/// Those of the conversion, as text.
pub fn convert(dir: &Path, out: &Path, mmproj: bool) -> Result<HfSource, String> {
    let options = HfOptions::default()
        .outtype(OutType::F32)
        .pre_tokenizer(Some("gpt-2".to_owned()))
        .mmproj(mmproj)
        .target_model_dir(Some(target_of(dir)).filter(|target| target.is_dir()));
    let source = HfSource::open(dir, &options).map_err(|e| e.to_string())?;
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())?;
    Ok(source)
}

/// [`convert()`] of a directory that makes no whole model.
///
/// # Errors
/// Those of the conversion, as text.
pub fn convert_unchecked(dir: &Path, out: &Path) -> Result<HfSource, String> {
    let options = HfOptions::default()
        .outtype(OutType::F32)
        .pre_tokenizer(Some("gpt-2".to_owned()))
        .target_model_dir(Some(target_of(dir)).filter(|target| target.is_dir()));
    let source = HfSource::open(dir, &options).map_err(|e| e.to_string())?;
    let contents = source
        .tensors()
        .iter()
        .enumerate()
        .map(|(index, tensor)| PlannedTensor {
            source: index,
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            ty: tensor.ty,
            importance: None,
            encoder: None,
        });
    let plan = OutputPlan::new(out, source.metadata(), Vec::new(), contents.collect());
    let plan = plan.map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())?;
    Ok(source)
}

/// Converts a model directory to a file of its own types, its tokenizer found by what it does.
///
/// # Errors
/// Those of the conversion, as text.
pub fn convert_as_it_is(dir: &Path, out: &Path) -> Result<(), String> {
    let source = HfSource::open(dir, &HfOptions::default()).map_err(|e| e.to_string())?;
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())
}
