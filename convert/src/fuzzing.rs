//! Bodies of fuzz targets: any bytes may be given; a panic is a finding.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use gguf::{Metadata, TYPES, TensorType};

use crate::importance::Importance;
use crate::quantize::{QuantizeOptions, plan};
use crate::recipe::{PRESETS, TensorTypeRule};
use crate::source::hf::{HfOptions, HfSource};
use crate::source::{Source, SourceTensor};
use crate::{Error, Result};

/// A configuration that is complete, for targets that vary another file.
const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 4}"#;

fn open(files: &[(&str, &[u8])]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    for (name, bytes) in files {
        if std::fs::write(dir.path().join(name), bytes).is_err() {
            return;
        }
    }
    for headers_suffice in [false, true] {
        let options = HfOptions {
            headers_suffice,
            ..HfOptions::default()
        };
        let Ok(source) = HfSource::open(dir.path(), &options) else {
            continue;
        };
        for (index, tensor) in source.tensors().iter().enumerate() {
            let row = tensor.shape.first().copied().unwrap_or(1);
            if row <= 1 << 16 {
                let mut out = vec![0.0; row as usize];
                let _ = source.read_rows(index, 0..1, &mut out);
                let _ = source.raw_rows(index, 0..1);
            }
        }
    }
}

/// A model directory with this safetensors file.
pub fn safetensors(data: &[u8]) {
    open(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", data)]);
}

/// A model directory with this index over two files.
pub fn index(data: &[u8]) {
    let part = |name: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}}}"#);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + 32, 0);
        bytes
    };
    open(&[
        ("config.json", CONFIG.as_bytes()),
        ("model.safetensors.index.json", data),
        ("model-00001-of-00002.safetensors", &part("model.norm.weight")),
        (
            "model-00002-of-00002.safetensors",
            &part("model.layers.0.input_layernorm.weight"),
        ),
    ]);
}

/// A model directory with this configuration.
pub fn config(data: &[u8]) {
    let header = br#"{"model.norm.weight":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}"#;
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend(header);
    weights.resize(weights.len() + 32, 0);
    open(&[("config.json", data), ("model.safetensors", &weights)]);
}

fn vocabulary(files: &[(&str, &[u8])]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    for (name, bytes) in files {
        if std::fs::write(dir.path().join(name), bytes).is_err() {
            return;
        }
    }
    let options = HfOptions {
        vocab_only: true,
        ..HfOptions::default()
    };
    let _ = HfSource::open(dir.path(), &options);
}

/// A vocabulary with this `tokenizer.json`.
pub fn tokenizer_json(data: &[u8]) {
    vocabulary(&[("config.json", CONFIG.as_bytes()), ("tokenizer.json", data)]);
}

/// A vocabulary with this `tokenizer.model`.
pub fn sentencepiece(data: &[u8]) {
    vocabulary(&[("config.json", CONFIG.as_bytes()), ("tokenizer.model", data)]);
}

/// A manifest of digests.
pub fn manifest(data: &[u8]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    if std::fs::write(dir.path().join(crate::digest::MANIFEST), data).is_ok()
        && let Ok(entries) = crate::digest::read_manifest(dir.path())
    {
        assert!(entries.iter().all(|e| !e.name.contains('/')));
    }
}

/// A source of headers alone.
struct Headers {
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
}

impl Source for Headers {
    fn path(&self) -> &Path {
        Path::new("fuzz")
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, _: usize, _: Range<u64>, _: &mut [f32]) -> Result<()> {
        Err(Error::Request("headers only".into()))
    }

    fn raw_rows(&self, _: usize, _: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(None)
    }
}

/// Recipe and plan of every preset for any list of tensors: offsets follow each other, no tensor is lost.
pub fn recipe(data: &[u8]) {
    const ARCHITECTURES: [&str; 8] = [
        "llama",
        "falcon",
        "gemma",
        "qwen2moe",
        "deepseek2",
        "mamba",
        "t5",
        "never",
    ];
    const NAMES: [&str; 16] = [
        "token_embd.weight",
        "output.weight",
        "output_norm.weight",
        "attn_q.weight",
        "attn_k.weight",
        "attn_v.weight",
        "attn_qkv.weight",
        "attn_output.weight",
        "ffn_up.weight",
        "ffn_down.weight",
        "ffn_gate.weight",
        "ffn_down_exps.weight",
        "ffn_gate_inp.weight",
        "ssm_conv1d.weight",
        "odd",
        "",
    ];
    let [architecture, preset, flags, rest @ ..] = data else {
        return;
    };
    let architecture = ARCHITECTURES[usize::from(*architecture) % ARCHITECTURES.len()];
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", architecture);
    metadata.set(format!("{architecture}.block_count"), u32::from(*flags));
    metadata.set(format!("{architecture}.expert_count"), u32::from(*preset) % 9);
    let mut tensors = Vec::new();
    for (index, part) in rest.chunks_exact(4).enumerate() {
        let [name, ty, row, rows] = [part[0], part[1], part[2], part[3]];
        let base = NAMES[usize::from(name) % NAMES.len()];
        let name = match index % 3 {
            0 if index < 3 => base.to_owned(),
            1 => format!("blk.{}.{base}", u32::from(name) / 16),
            _ => format!("blk.{index}.{base}"),
        };
        let ty = TYPES[usize::from(ty) % TYPES.len()].ty;
        let row = match row % 4 {
            0 => 256 * (1 + u64::from(row)),
            1 => 32 * (1 + u64::from(row)),
            2 => u64::from(row) + 1,
            _ => 1 << (row % 50),
        };
        if !row.is_multiple_of(ty.block_len() as u64) {
            continue;
        }
        tensors.push(SourceTensor {
            name,
            shape: vec![row, 1 + u64::from(rows), 1 + u64::from(rows % 3)],
            ty,
            shard: usize::from(rows % 2),
        });
    }
    let source = Headers { metadata, tensors };
    let mut options = QuantizeOptions::new(PRESETS[usize::from(*preset) % PRESETS.len()].preset);
    options.allow_requantize = true;
    options.keep_split = flags & 1 != 0;
    options.recipe.pure = flags & 2 != 0;
    options.recipe.no_fallback = flags & 4 != 0;
    if flags & 8 != 0 {
        options.recipe.output_tensor_type = Some(TensorType::Q6_K);
    }
    if flags & 16 != 0
        && let Ok(rule) = TensorTypeRule::parse(&String::from_utf8_lossy(rest))
    {
        options.recipe.tensor_types.push(rule);
    }
    if flags & 32 != 0 {
        options.prune_layers = vec![u32::from(*preset) % 4];
    }
    let none: Option<&Importance> = None;
    let Ok(plan) = plan(&source, Path::new("fuzz.gguf"), &options, none) else {
        return;
    };
    let _ = plan.check();
    for output in &plan.outputs {
        let mut next = 0;
        for tensor in output.tensors() {
            assert!(tensor.offset >= next, "tensors overlap");
            next = tensor.offset + tensor.size_bytes();
        }
        assert!(output.file_size() >= output.header_len() + next);
    }
    if options.prune_layers.is_empty() {
        let planned: usize = plan.outputs.iter().map(|o| o.tensors().len()).sum();
        assert_eq!(planned, source.tensors.len());
    }
}
