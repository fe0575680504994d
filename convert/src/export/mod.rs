//! GGUF back to a Hugging Face directory, for the families that are stored much as they were: `config.json`,
//! safetensors, tokenizer and a model card with what `general.*` knows.
//!
//! Converting the directory again gives the same GGUF file, where that was made of a directory whose weights
//! were in order of their names, and the new directory has a name that tells no more than the file.

mod card;
mod config;
mod sentencepiece;
mod tokenizer;
mod weights;

use std::fs;
use std::path::Path;

use gguf::{Metadata, TensorType};
use serde_json::{Map, Value};

use crate::source::{GgufSource, Source};
use crate::{Error, Result};

/// What a user may want of an export.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExportOptions {
    /// The type of all matrices, instead of their own; quantized ones become F32 without it.
    pub dtype: Option<ExportType>,
}

/// A type that safetensors files hold weights in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the field's own names")]
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

/// What was written, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// Files, by their names in the directory.
    pub files: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// A family that can be exported.
struct Family {
    /// `general.architecture`.
    gguf: &'static str,
    class: &'static str,
    model_type: &'static str,
    tokenizer_class: &'static str,
}

const FAMILIES: [Family; 3] = [
    Family {
        gguf: "llama",
        class: "LlamaForCausalLM",
        model_type: "llama",
        tokenizer_class: "PreTrainedTokenizerFast",
    },
    Family {
        gguf: "qwen2",
        class: "Qwen2ForCausalLM",
        model_type: "qwen2",
        tokenizer_class: "Qwen2Tokenizer",
    },
    Family {
        gguf: "qwen3",
        class: "Qwen3ForCausalLM",
        model_type: "qwen3",
        tokenizer_class: "Qwen2Tokenizer",
    },
];

/// Mistral differs from Llama in that head sizes are not named.
const MISTRAL: Family = Family {
    gguf: "llama",
    class: "MistralForCausalLM",
    model_type: "mistral",
    tokenizer_class: "PreTrainedTokenizerFast",
};

/// Writes the directory `out`, which must not exist. It appears when it is complete.
///
/// # Errors
/// An architecture, tokenizer or tensor that cannot be exported; reading and writing.
pub fn export(source: &GgufSource, out: &Path, options: ExportOptions) -> Result<Exported> {
    if out.exists() {
        return Err(Error::Request(format!("{}: exists already", out.display())));
    }
    let io = |source| Error::Io {
        path: out.to_path_buf(),
        source,
    };
    let input = |message: String| Error::Input {
        path: source.path().to_path_buf(),
        message,
    };
    let metadata = source.metadata();
    let family = family_of(metadata).map_err(input)?;
    let plan = weights::Plan::new(source, family, options.dtype)?;
    let mut exported = Exported::default();
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty());
    let staging = tempfile::tempdir_in(parent.unwrap_or(Path::new("."))).map_err(io)?;
    let dir = staging.path().join("model");
    fs::create_dir(&dir).map_err(io)?;

    let config = config::config(source, family, &plan, &mut exported.warnings).map_err(input)?;
    let mut files: Vec<(&str, Vec<u8>)> = vec![("config.json", json(&Value::Object(config)))];
    files.extend(tokenizer::files(metadata, family, &mut exported.warnings).map_err(input)?);
    files.extend(card::files(metadata));
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).map_err(io)?;
        exported.files.push(name.to_owned());
    }
    exported.files.extend(plan.write(source, &dir)?);
    exported.warnings.extend(plan.warnings);
    fs::rename(&dir, out).map_err(io)?;
    Ok(exported)
}

fn family_of(metadata: &Metadata) -> Result<&'static Family, String> {
    let architecture = metadata.architecture();
    if metadata.get_str("general.type").is_some_and(|t| t != "model") {
        return Err("not a model".to_owned());
    }
    if architecture == "llama" && metadata.arch("attention.key_length").is_none() {
        return Ok(&MISTRAL);
    }
    FAMILIES.iter().find(|f| f.gguf == architecture).ok_or_else(|| {
        format!("architecture {architecture:?} cannot be exported; llama, qwen2 and qwen3 can")
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
