//! Errors of this crate.

use std::path::PathBuf;

/// Errors of this crate, with the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the system.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file that is not what it has to be.
    #[error("{}: {message}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// Expectation and finding.
        message: String,
    },
    /// A template that does not parse or fails.
    #[error("template: {0}")]
    Template(String),
    /// Reading or writing a file.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// Digests, manifests, links.
    #[error(transparent)]
    Convert(#[from] convert::Error),
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
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
