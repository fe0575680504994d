//! Errors of learning.

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the optimizers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model could not be run.
    #[error(transparent)]
    Model(#[from] reference::Error),

    /// The source could not be read.
    #[error(transparent)]
    Source(#[from] convert::Error),

    /// A file of the run's own could not be made, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },

    /// A tensor could not be encoded.
    #[error("tensor '{tensor}': {source}")]
    Codec {
        /// The tensor.
        tensor: String,
        /// Why not.
        source: quants::Error,
    },

    /// A request that cannot be carried out. The text says what was found and what was expected.
    #[error("{0}")]
    Request(String),
}
