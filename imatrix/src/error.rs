//! Errors of this crate.

use std::path::PathBuf;

/// Errors of an importance-matrix file.
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
    /// The file is a GGUF file that cannot be read.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// A legacy file holds something it cannot hold.
    #[error("{path}: {subject} at byte {offset}: expected {expected}, found {found}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Byte offset in the file.
        offset: u64,
        /// The entry or field.
        subject: String,
        /// The value found.
        found: String,
        /// The value expected.
        expected: String,
    },
    /// A well-formed GGUF file that is no importance matrix.
    #[error("{path}: {subject}: expected {expected}, found {found}", path = path.display())]
    NotAnImatrix {
        /// The file.
        path: PathBuf,
        /// The key or tensor.
        subject: String,
        /// The value found.
        found: String,
        /// The value expected.
        expected: String,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
