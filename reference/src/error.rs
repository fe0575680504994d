//! Errors of loading and running a model.

use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the reference runtime. Each names the file, key or tensor at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The container could not be read.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),

    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },

    /// The tokenizer metadata is missing, malformed or of an unknown kind. The text names the key, what
    /// was found and what was expected.
    #[error("tokenizer: {0}")]
    Tokenizer(String),

    /// A model cannot be run: its architecture, hyperparameters or tensors are not as expected.
    #[error("{}: {message}", path.display())]
    Model {
        /// The model's file.
        path: PathBuf,
        /// The key or tensor, what was found and what was expected.
        message: String,
    },

    /// Importance that was collected before is of another model.
    #[error(transparent)]
    Importance(#[from] imatrix::ShapeChanged),

    /// A tap wanted no more ([`crate::Tap::is_done`]) in a pass that is not staged.
    #[error("the forward pass was stopped by what observes it")]
    Stopped,

    /// A declared model cannot be looked at further; what it lacks was noted.
    #[doc(hidden)]
    #[error("the model is incomplete")]
    Short,

    /// A text cannot be measured: it is too short, or the windows asked for are.
    #[error("{0}")]
    Text(String),
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}
