//! Small JSON files beside the weights.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// Largest JSON side file accepted. The biggest known index of a model is a few tens of MiB.
const MAX_JSON_BYTES: u64 = 256 << 20;

/// Reads a JSON file, keeping the order of keys.
pub(crate) fn read(path: &Path) -> Result<Value> {
    let text = read_bytes(path, MAX_JSON_BYTES)?;
    serde_json::from_slice(&text).map_err(|e| Error::Input {
        path: path.to_path_buf(),
        message: format!("not valid JSON: {e}"),
    })
}

/// Reads a JSON file whose top level is an object.
pub(crate) fn read_object(path: &Path) -> Result<serde_json::Map<String, Value>> {
    match read(path)? {
        Value::Object(map) => Ok(map),
        _ => Err(Error::Input {
            path: path.to_path_buf(),
            message: "not a JSON object".to_owned(),
        }),
    }
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io_error = |source| Error::Io {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(io_error)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io_error)?;
    if bytes.len() as u64 > limit {
        return Err(Error::Input {
            path: path.to_path_buf(),
            message: format!("longer than the limit of {limit} bytes"),
        });
    }
    Ok(bytes)
}
