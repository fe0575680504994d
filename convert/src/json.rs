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
    let parsed = serde_json::from_slice(&text);
    // Python's library writes numbers that JSON does not have; no such number is of use here.
    let parsed = parsed.or_else(|e| match without_infinities(&text) {
        Some(text) => serde_json::from_slice(&text),
        None => Err(e),
    });
    parsed.map_err(|e| {
        Error::input(
            path,
            match gguf::foreign::describe(&text).filter(|_| !text.starts_with(b"{")) {
                Some(what) => format!("{what}; expected JSON"),
                None => format!("not valid JSON: {e}"),
            },
        )
    })
}

/// The text with `null` for `Infinity`, `-Infinity` and `NaN` outside of strings; `None` when there are none.
fn without_infinities(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let (mut inside, mut found, mut at) = (false, false, 0);
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        let words: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
        if !inside && let Some(word) = words.iter().find(|w| rest.starts_with(w)) {
            out.extend_from_slice(b"null");
            at += word.len();
            found = true;
            continue;
        }
        if byte == b'"' {
            inside = !inside;
        } else if inside && byte == b'\\' {
            out.push(byte);
            at += 1;
        }
        out.extend(text.get(at));
        at += 1;
    }
    found.then_some(out)
}

/// Reads a JSON file whose top level is an object.
pub(crate) fn read_object(path: &Path) -> Result<serde_json::Map<String, Value>> {
    match read(path)? {
        Value::Object(map) => Ok(map),
        _ => Err(Error::input(path, "expected a JSON object, found another value")),
    }
}

/// Refuses what a repository holds in place of a large file.
pub(crate) fn refuse_pointer(path: &Path, bytes: &[u8]) -> Result<()> {
    match gguf::foreign::pointer(bytes) {
        Some(what) => Err(Error::input(path, what.to_owned())),
        None => Ok(()),
    }
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io_error = |source| Error::io(path, source);
    let file = File::open(path).map_err(io_error)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io_error)?;
    refuse_pointer(path, &bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::input(
            path,
            format!("expected at most {limit} bytes, found more"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_only_python_knows_become_null() {
        let replaced =
            |text: &str| without_infinities(text.as_bytes()).map(|t| String::from_utf8(t).unwrap());
        assert_eq!(
            replaced(r#"{"a": [0.0, Infinity, -Infinity], "NaN\"NaN": NaN}"#).as_deref(),
            Some(r#"{"a": [0.0, null, null], "NaN\"NaN": null}"#)
        );
        assert_eq!(replaced(r#"{"NaN": 1, "\\": "Infinity"}"#), None);
        assert_eq!(replaced("\"\\"), None);
    }
}
