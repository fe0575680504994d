//! Errors of this crate.

use std::path::PathBuf;

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
    #[error("{path}: tensor {tensor}, row {row}, column {column}: found {found}, expected a finite weight", path = path.display())]
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
    #[error("{path}: tensor {tensor}, row {row}, column {column}: invalid data as {when}: {source}", path = path.display())]
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
    #[error("{path}: tensor {tensor}: {source}", path = path.display())]
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
    /// The run was told to stop ([`crate::source::Cancellable`]).
    #[error("cancelled")]
    Cancelled,
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
