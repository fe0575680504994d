//! The contents of a GGUF file that is no model: for commands that are given one in a model's place.

use std::path::Path;

use gguf::{GgufModel, Metadata, OpenOptions};

use crate::{Error, Remedy, Result};

/// The contents of a file that is no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
        let options = OpenOptions::default().allow_missing_data(true);
        let model = GgufModel::open_single(path, options).ok()?;
        Self::of(model.metadata(), model.len())
    }

    /// A phrase for it, with its article.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Adapter => "a LoRA adapter",
            Self::Importance => "an importance matrix",
            Self::Encoder => "an encoder with its projector (mmproj)",
            Self::ControlVector => "a control vector",
            Self::Vocabulary => "a vocabulary without tensors",
        }
    }

    /// The error of what expects a model.
    pub fn instead_of_model(self, path: &Path) -> Error {
        self.instead_of(path, "a model")
    }

    fn instead_of(self, path: &Path, expected: &str) -> Error {
        let error = Error::input(path, format!("expected {expected}, found {}", self.describe()));
        error.avoided_by(Remedy::UsedElsewhere(self))
    }
}

/// Refuses a file that is known to hold something else than a model.
///
/// # Errors
/// Names what it is.
pub fn expect_model(path: &Path) -> Result<()> {
    match Kind::of_file(path) {
        Some(kind) => Err(kind.instead_of_model(path)),
        None => Ok(()),
    }
}

/// The error for a file where a model directory is expected.
pub(crate) fn instead_of_directory(path: &Path) -> Error {
    if let Some(kind) = Kind::of_file(path) {
        return kind.instead_of(path, "a model directory");
    }
    let what = gguf::foreign::describe_file(path).unwrap_or("a file");
    let error = Error::input(path, format!("expected a model directory, found {what}"));
    match what {
        "a GGUF file" => error.avoided_by(Remedy::QuantizeInstead),
        _ => error,
    }
}
