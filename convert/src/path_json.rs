//! Paths in JSON, which has no bytes that are not text.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// A path for a report: a string, or where it is not UTF-8 `{"lossy": TEXT, "hex": BYTES}`, in whose text U+FFFD
/// stands for what is none.
pub fn path_json(path: &Path) -> Value {
    match path.to_str() {
        Some(text) => text.into(),
        None => json!({
            "lossy": path.to_string_lossy(),
            "hex": crate::digest::hex(path.as_os_str().as_encoded_bytes()),
        }),
    }
}

/// [`path_json`] for a field of a struct.
///
/// # Errors
/// The serializer's.
pub fn serialize_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    path_json(path).serialize(serializer)
}

/// [`serialize_path`] for a path that may be absent.
///
/// # Errors
/// The serializer's.
pub fn serialize_optional_path<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    path.as_deref().map(path_json).serialize(serializer)
}
