//! Errors, each with what to do next.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file on this machine.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Nobody answers, or the connection breaks again and again.
    #[error(
        "{name}: the hub at {endpoint} cannot be reached ({why}); a run of the same command continues, and \
             HF_HUB_OFFLINE=1 uses what the cache has"
    )]
    Unreachable {
        /// The model.
        name: String,
        /// The hub's address.
        endpoint: String,
        /// The last failure.
        why: String,
    },
    /// Offline, and not in the cache.
    #[error("{name}: not in the cache {}, and HF_HUB_OFFLINE forbids fetching it: unset that, or fetch it where there \
             is a network, with `hf download {repository}`, and bring the cache here", cache.display())]
    Offline {
        /// The model.
        name: String,
        /// The cache.
        cache: PathBuf,
        /// Owner and name of the repository.
        repository: String,
    },
    /// 401 and 403.
    #[error("{name}: the hub refuses access ({status}){}", if *token {
        ": the token is not valid, or its account has not been granted this model; its page on the hub says how"
    } else {
        ": it is gated or private, or does not exist: log in with `hf auth login`, or set HF_TOKEN"
    })]
    Refused {
        /// The model.
        name: String,
        /// The hub's answer.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// 404.
    #[error(
        "{name}: {what} is not on the hub at {endpoint}: its spelling and the revision are to be checked"
    )]
    Missing {
        /// The model.
        name: String,
        /// The file or model asked for.
        what: String,
        /// The hub's address.
        endpoint: String,
    },
    /// 429 for too long.
    #[error("{name}: the hub takes no more requests for {seconds} s (429): the same command continues then")]
    Busy {
        /// The model.
        name: String,
        /// Seconds of its Retry-After.
        seconds: u64,
    },
    /// Any other answer that is of no use.
    #[error("{name}: {url}: expected {expected}, found {found}")]
    Answer {
        /// The model.
        name: String,
        /// The address.
        url: String,
        /// The value found.
        found: String,
        /// The value expected.
        expected: String,
    },
    /// A file of another size than listed.
    #[error("{name}: {file}: expected {expected} bytes, found {found}; nothing of it is kept")]
    Size {
        /// The model.
        name: String,
        /// The file.
        file: String,
        /// Bytes that the hub lists.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A file of another digest than listed.
    #[error(
        "{name}: {file}: expected {kind} {expected}, found {found}; the file is removed from the cache, and the \
             same command fetches it again"
    )]
    Digest {
        /// The model.
        name: String,
        /// The file.
        file: String,
        /// Kind of digest.
        kind: &'static str,
        /// The digest that the hub lists.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// A name in a listing that leads out of the directory.
    #[error("{name}: file {file:?}: expected a name inside of the repository")]
    FileName {
        /// The model.
        name: String,
        /// The file.
        file: String,
    },
    /// A repository without anything to read.
    #[error("{name}: {message}")]
    Contents {
        /// The model.
        name: String,
        /// Files missing, and files present.
        message: String,
    },
    /// A header that is not well-formed.
    #[error("{name}: {file}: {message}")]
    Header {
        /// The model.
        name: String,
        /// The file.
        file: String,
        /// The fault.
        message: String,
    },
    /// No room for the files.
    #[error(transparent)]
    Space(#[from] gguf::Error),
}

impl Error {
    /// An error of a file on this machine.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
