//! Errors of this crate.

use std::path::{Path, PathBuf};

/// Errors of a GGUF file. Each message is whole: it has the cause in it, and no error carries another one as its
/// source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operating-system error on a file.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },

    /// The device or the user's quota is full.
    #[error("{path}: no space left: the file needs {needed} bytes in all ({cause})", path = path.display())]
    DiskFull {
        /// The file being written.
        path: PathBuf,
        /// Size of the finished file.
        needed: u64,
        /// The system's error.
        cause: std::io::Error,
    },

    /// The file ends before something that it must hold.
    #[error(
        "{path}: {subject}: the file ends too early: expected {needed} bytes at byte {offset}, found {available}",
        path = path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Byte offset in the file.
        offset: u64,
        /// The tensor, key or field.
        subject: String,
        /// Bytes that are there.
        available: u64,
        /// Bytes that had to be there.
        needed: u64,
    },

    /// The file holds something that the format does not allow, or that exceeds a limit.
    #[error("{path}: {subject} at byte {offset}: expected {expected}, found {found}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Byte offset in the file.
        offset: u64,
        /// The tensor, key or field.
        subject: String,
        /// The value found.
        found: String,
        /// The value expected.
        expected: String,
    },

    /// A file that was opened has become shorter or longer since.
    #[error("{path}: the file changed while it was read: expected {expected} bytes, found {found}", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its length now.
        found: u64,
        /// Its length when it was opened.
        expected: u64,
    },

    /// Something was written to the file after it was opened.
    #[error("{path}: another process has written to the file while it was read", path = path.display())]
    Overwritten {
        /// The file.
        path: PathBuf,
    },

    /// The files of a multi-file model do not fit together.
    #[error("{path}: {what}: expected {expected}, found {found}", path = path.display())]
    Shards {
        /// The shard.
        path: PathBuf,
        /// The key or tensor that does not fit.
        what: String,
        /// The value found.
        found: String,
        /// The value expected.
        expected: String,
    },

    /// Tensor data of this type cannot be brought from big-endian to little-endian order, or back.
    #[error("{path}: tensor '{tensor}': {ty} blocks have no defined big-endian form", path = path.display())]
    NoBigEndianForm {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        ty: crate::TensorType,
    },

    /// A byte range outside of a tensor.
    #[error(
        "{path}: tensor '{tensor}': expected bytes within its {size}, found {start}..{end}",
        path = path.display()
    )]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Start of the range.
        start: u64,
        /// End of the range.
        end: u64,
        /// Size of the tensor.
        size: u64,
    },

    /// A file cannot be planned: a name, shape or value that the format does not hold.
    #[error("cannot write {subject}: expected {expected}, found {found}")]
    Unwritable {
        /// The tensor or key.
        subject: String,
        /// The value requested.
        found: String,
        /// The limit of the format.
        expected: String,
    },

    /// A file was finished before all of a tensor was written.
    #[error("{path}: tensor '{tensor}': expected {size} bytes to be written, found {written}", path = path.display())]
    Incomplete {
        /// The file being written.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Bytes written.
        written: u64,
        /// Bytes it has.
        size: u64,
    },

    /// The target of a write exists and may not be replaced.
    #[error("{path}: {reason}", path = path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// The reason it cannot be written.
        reason: &'static str,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |cause| Self::Io {
            path: path.to_path_buf(),
            cause,
        }
    }

    pub(crate) fn unwritable(
        subject: impl Into<String>,
        found: impl ToString,
        expected: impl ToString,
    ) -> Self {
        Self::Unwritable {
            subject: subject.into(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }
}
