//! Errors of this crate.

use std::path::PathBuf;

use crate::kind::Kind;

/// Errors between a source and its GGUF files. Messages name the file and the tensor or key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operating-system error on a file.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A GGUF file could not be read or written.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// Something in the source is not as it must be.
    #[error("{path}: {message}", path = path.display())]
    Input {
        /// The file or directory.
        path: PathBuf,
        /// The value found and the value expected.
        message: String,
    },
    /// A weight of the source is NaN or infinite.
    #[error("{path}: tensor '{tensor}', row {row}, column {column}: found {found}, expected a finite weight", path = path.display())]
    NotFinite {
        /// The source.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The row, counted over all stacked matrices.
        row: u64,
        /// The column.
        column: u64,
        /// The value.
        found: f32,
    },
    /// A block holds a scale or element that is not finite, or cannot hold a weight's magnitude.
    #[error("{path}: tensor '{tensor}', row {row}, column {column}: invalid data as {when}: {source}", path = path.display())]
    InvalidBlock {
        /// The source.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The row, counted over all stacked matrices.
        row: u64,
        /// The first column of the block.
        column: u64,
        /// "stored" in the source, or "encoded" from it.
        when: &'static str,
        /// The fault.
        source: quants::InvalidBlock,
    },
    /// A tensor cannot be decoded or encoded.
    #[error("{path}: tensor '{tensor}': {source}", path = path.display())]
    Codec {
        /// The source.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The codec's error.
        source: quants::Error,
    },
    /// An importance matrix could not be read.
    #[error(transparent)]
    Imatrix(#[from] imatrix::Error),
    /// The request itself cannot be met (an override that matches nothing, a missing importance matrix).
    #[error("{0}")]
    Request(String),
    /// An error that an option of this crate, or another use of it, avoids.
    #[error("{error}")]
    Avoidable {
        /// The error.
        error: Box<Self>,
        /// The way around it.
        remedy: Remedy,
    },
    /// The run was told to stop ([`crate::source::Cancellable`]).
    #[error("cancelled")]
    Cancelled,
}

/// A way around an error. Messages do not say it, since how an option is set is the program's business: a command has a
/// flag for it, another program a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// [`QuantizeOptions::allow_incomplete`](crate::quantize::QuantizeOptions::allow_incomplete): write the model as it is.
    AllowIncomplete,
    /// [`QuantizeOptions::allow_requantize`](crate::quantize::QuantizeOptions::allow_requantize): accept the loss.
    AllowRequantize,
    /// An importance matrix, or uniform importance for tensors without.
    Importance,
    /// [`HfOptions::target_model_dir`](crate::source::hf::HfOptions::target_model_dir).
    TargetModelDir,
    /// [`HfOptions::arch_file`](crate::source::hf::HfOptions::arch_file): a description of the architecture.
    ArchFile,
    /// The name of an architecture that is known ([`crate::arch::supported_classes`]).
    KnownArchitecture,
    /// [`HfOptions::pre_tokenizer`](crate::source::hf::HfOptions::pre_tokenizer): its name.
    PreTokenizer,
    /// [`HfOptions::no_named_template`](crate::source::hf::HfOptions::no_named_template): no chat template.
    NoNamedTemplate,
    /// [`AdapterOptions::base`](crate::source::hf::AdapterOptions::base): the directory of the base model.
    Base,
    /// Which part of a distributed run this is, said outright.
    Part,
    /// The file is good for something else.
    UsedElsewhere(Kind),
    /// A GGUF file is quantized, not converted.
    QuantizeInstead,
}

impl Error {
    pub(crate) fn input(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Input {
            path: path.into(),
            message: message.into(),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    /// The same error, with what avoids it.
    pub(crate) fn avoided_by(self, remedy: Remedy) -> Self {
        Self::Avoidable {
            error: Box::new(self),
            remedy,
        }
    }

    /// The error without what avoids it.
    #[must_use]
    pub fn into_plain(self) -> Self {
        match self {
            Self::Avoidable { error, .. } => error.into_plain(),
            other => other,
        }
    }

    /// The way around the error, where one is known.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Avoidable { remedy, .. } => Some(*remedy),
            _ => None,
        }
    }
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
