//! GGUF back to a Hugging Face directory, for the families that are stored much as they were: `config.json`,
//! safetensors, tokenizer and a model card with what `general.*` knows.
//!
//! Converting the directory again gives the same GGUF file, if that was not quantized. Every directory is read
//! back before it appears, and what would not be the same is reported.

mod byte_fallback;
mod byte_level;
mod card;
mod check;
mod config;
mod number;
mod rope;
mod sentencepiece;
mod tokenizer;
mod vocabulary;
mod weights;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use gguf::TensorType;
use serde_json::{Map, Value};

use crate::scratch::Scratch;
use crate::source::{GgufSource, Source};
use crate::{Error, Result};

/// Options for an export.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ExportOptions {
    /// The type of all matrices, instead of their own; quantized ones become F32 without it.
    pub dtype: Option<ExportType>,
}

gguf::setters! {
    ExportOptions {
        dtype: Option<ExportType>,
    }
}

/// A type that safetensors files hold weights in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the field's own names")]
#[non_exhaustive]
pub enum ExportType {
    F32,
    F16,
    BF16,
}

impl ExportType {
    /// The names that `--dtype` takes.
    pub const NAMES: [&str; 3] = ["f32", "f16", "bf16"];

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "f32" => Self::F32,
            "f16" => Self::F16,
            "bf16" => Self::BF16,
            _ => return None,
        })
    }

    fn of(ty: TensorType) -> Option<Self> {
        match ty {
            TensorType::F32 => Some(Self::F32),
            TensorType::F16 => Some(Self::F16),
            TensorType::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    fn tensor_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::BF16 => TensorType::BF16,
        }
    }

    /// The name in safetensors headers.
    fn dtype(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    /// The name in `config.json`.
    fn torch(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }

    fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// Report of an export: what was written, and what was not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Exported {
    /// Files, by their names in the directory.
    pub files: Vec<String>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// A family that can be exported.
struct Family {
    /// `general.architecture`.
    gguf: &'static str,
    class: &'static str,
    model_type: &'static str,
    tokenizer_class: &'static str,
    /// Keys of its own with their names in `config.json`.
    keys: &'static [(&'static str, &'static str)],
    /// Settings that readers of the file assume.
    fixed: &'static [(&'static str, bool)],
    /// Biases that `config.json` has to declare: the key, and a tensor of the first block that tells.
    biases: &'static [(&'static str, &'static str)],
}

const LLAMA: Family = Family {
    gguf: "llama",
    class: "LlamaForCausalLM",
    model_type: "llama",
    tokenizer_class: "PreTrainedTokenizerFast",
    keys: &[],
    fixed: &[],
    biases: &[
        ("attention_bias", "blk.0.attn_q.bias"),
        ("mlp_bias", "blk.0.ffn_gate.bias"),
    ],
};

/// Mistral differs from Llama in that it has no biases and need not name the size of heads.
const MISTRAL: Family = Family {
    class: "MistralForCausalLM",
    model_type: "mistral",
    biases: &[],
    ..LLAMA
};

const MIXTRAL: Family = Family {
    class: "MixtralForCausalLM",
    model_type: "mixtral",
    keys: &[
        ("expert_count", "num_local_experts"),
        ("expert_used_count", "num_experts_per_tok"),
    ],
    biases: &[],
    ..LLAMA
};

const QWEN2: Family = Family {
    gguf: "qwen2",
    class: "Qwen2ForCausalLM",
    model_type: "qwen2",
    tokenizer_class: "Qwen2Tokenizer",
    keys: &[],
    fixed: &[],
    biases: &[],
};

const QWEN3: Family = Family {
    gguf: "qwen3",
    class: "Qwen3ForCausalLM",
    model_type: "qwen3",
    biases: &[("attention_bias", "blk.0.attn_q.bias")],
    ..QWEN2
};

const QWEN2_MOE: Family = Family {
    gguf: "qwen2moe",
    class: "Qwen2MoeForCausalLM",
    model_type: "qwen2_moe",
    keys: &[
        ("expert_count", "num_experts"),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        (
            "expert_shared_feed_forward_length",
            "shared_expert_intermediate_size",
        ),
    ],
    fixed: &[("norm_topk_prob", false)],
    ..QWEN2
};

const QWEN3_MOE: Family = Family {
    gguf: "qwen3moe",
    class: "Qwen3MoeForCausalLM",
    model_type: "qwen3_moe",
    keys: &[
        ("expert_count", "num_experts"),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
    ],
    fixed: &[("norm_topk_prob", true)],
    ..QWEN3
};

/// Writes the directory `out`, which must not exist. It appears when it is complete.
///
/// # Errors
/// An architecture, tokenizer or tensor that cannot be exported; reading and writing.
pub fn export(source: &GgufSource, out: &Path, options: ExportOptions) -> Result<Exported> {
    if out.exists() {
        return Err(Error::Request(format!("{}: exists already", out.display())));
    }
    let io = |source| Error::io(out, source);
    let input = |message: String| Error::input(source.path(), message);
    let metadata = source.metadata();
    let family = family_of(source).map_err(input)?;
    let plan = weights::Plan::new(source, family, options.dtype)?;
    let mut exported = Exported::default();
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty());
    let name = out.file_name().ok_or_else(|| {
        let message = format!("{}: no name for a directory", out.display());
        Error::Request(message)
    })?;
    let staging = Scratch::new(parent.unwrap_or(Path::new(".")))?;
    let dir = staging.path().join(name);
    fs::create_dir(&dir).map_err(io)?;

    let tokenizer = tokenizer::export(metadata, family, &mut exported.warnings).map_err(input)?;
    let mut config = config::config(source, family, &plan, &mut exported.warnings).map_err(input)?;
    config.extend(tokenizer.ids);
    let mut files: Vec<(&str, Vec<u8>)> = vec![("config.json", json(&Value::Object(config)))];
    files.extend(tokenizer.files);
    files.extend(card::files(metadata));
    for (name, bytes) in files {
        let path = dir.join(name);
        write_synced(&path, &bytes).map_err(io)?;
        exported.files.push(name.to_owned());
    }
    exported.files.extend(plan.write(source, &dir)?);
    exported.warnings.extend(check::differences(source, &dir, &plan)?);
    exported.warnings.extend(plan.warnings);
    fs::rename(&dir, out).map_err(io)?;
    Ok(exported)
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn family_of(source: &GgufSource) -> Result<&'static Family, String> {
    let metadata = source.metadata();
    if metadata.get_str("general.type").is_some_and(|t| t != "model") {
        return Err("general.type: expected a model, found another".to_owned());
    }
    let has = |name: &str| source.tensors().iter().any(|t| t.name == name);
    Ok(match metadata.architecture() {
        "llama" if metadata.arch("expert_count").is_some() => &MIXTRAL,
        "llama"
            if metadata.arch("attention.key_length").is_none()
                && LLAMA.biases.iter().all(|(_, name)| !has(name))
                && !has(rope::FACTORS) =>
        {
            &MISTRAL
        }
        "llama" => &LLAMA,
        "qwen2" => &QWEN2,
        "qwen3" => &QWEN3,
        "qwen2moe" => &QWEN2_MOE,
        "qwen3moe" => &QWEN3_MOE,
        other => {
            return Err(format!(
                "general.architecture: expected llama, qwen2, qwen3, qwen2moe or qwen3moe, which can be exported, found {other:?}"
            ));
        }
    })
}

fn json(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// An object of these pairs.
fn object<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    let map: Map<String, Value> = pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Value::Object(map)
}
