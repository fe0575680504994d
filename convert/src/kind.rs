//! What a GGUF file holds, if it is no model: for commands that are given one in a model's place.

use std::path::Path;

use gguf::{GgufModel, Metadata, OpenOptions};

use crate::{Error, Result};

/// What a file holds besides a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A LoRA adapter.
    Adapter,
    /// An importance matrix.
    Importance,
    /// An image or sound encoder with its projector.
    Encoder,
    /// A control vector.
    ControlVector,
    /// A tokenizer alone.
    Vocabulary,
}

impl Kind {
    /// The kind of a file with these keys and as many tensors; `None` for a model.
    pub fn of(metadata: &Metadata, tensors: usize) -> Option<Self> {
        let text = |key: &str| metadata.get_str(key).unwrap_or_default();
        match (text("general.type"), metadata.architecture()) {
            ("adapter", _) => Some(Self::Adapter),
            ("imatrix", _) => Some(Self::Importance),
            ("controlvector", _) | (_, "controlvector") => Some(Self::ControlVector),
            ("mmproj", _) | (_, "clip") => Some(Self::Encoder),
            _ if tensors == 0 && metadata.get("tokenizer.ggml.tokens").is_some() => Some(Self::Vocabulary),
            _ => None,
        }
    }

    /// The kind of a file; `None` for a model, and for what is no GGUF file or a malformed one.
    pub fn of_file(path: &Path) -> Option<Self> {
        let options = OpenOptions {
            allow_missing_data: true,
            ..OpenOptions::default()
        };
        let model = GgufModel::open_single(path, options).ok()?;
        Self::of(model.metadata(), model.len())
    }

    /// What it is, and which command takes it.
    fn described(self) -> (&'static str, &'static str) {
        match self {
            Self::Adapter => (
                "a LoRA adapter",
                "llama.cpp applies it to a model (--lora); inspect, meta and verify take it",
            ),
            Self::Importance => (
                "an importance matrix",
                "--imatrix of quantize, convert and table takes it, and --in-file of imatrix",
            ),
            Self::Encoder => (
                "an encoder with its projector (mmproj)",
                "quantize takes it, and llama.cpp loads it beside its text model (--mmproj)",
            ),
            Self::ControlVector => (
                "a control vector",
                "llama.cpp applies it to a model (--control-vector); inspect and meta take it",
            ),
            Self::Vocabulary => ("a vocabulary without tensors", "tokenize takes it"),
        }
    }

    /// The error of a command that expects a model.
    pub fn instead_of_model(self, path: &Path) -> Error {
        let (what, remedy) = self.described();
        Error::Input {
            path: path.to_path_buf(),
            message: format!("expected a model, found {what}: {remedy}"),
        }
    }
}

/// Refuses a file that is known to hold something else than a model.
///
/// # Errors
/// Names what it is and which command takes it.
pub fn expect_model(path: &Path) -> Result<()> {
    match Kind::of_file(path) {
        Some(kind) => Err(kind.instead_of_model(path)),
        None => Ok(()),
    }
}

/// What to say of a file where a model directory is expected.
pub(crate) fn instead_of_directory(path: &Path) -> Error {
    let message = match (Kind::of_file(path), gguf::foreign::describe_file(path)) {
        (Some(kind), _) => {
            let (what, remedy) = kind.described();
            format!("expected a model directory, found {what}: {remedy}")
        }
        (None, Some("a GGUF file")) => {
            "expected a model directory, found a GGUF file: quantize, table and perplexity take it".to_owned()
        }
        (None, what) => format!("expected a model directory, found {}", what.unwrap_or("a file")),
    };
    Error::Input {
        path: path.to_path_buf(),
        message,
    }
}
