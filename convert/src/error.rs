//! Errors of this crate.

use std::path::PathBuf;

/// What can go wrong between a source and its GGUF files. Messages name the file and the tensor or key.
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
        /// What was found and what was expected.
        message: String,
    },
    /// The request itself cannot be met (an override that matches nothing, a missing importance matrix).
    #[error("{0}")]
    Request(String),
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
