//! Values of keys, of whatever type of integer.

use gguf::{Array, Metadata};

/// A number under the architecture's prefix.
pub(super) fn number(metadata: &Metadata, suffix: &str) -> Option<u64> {
    metadata.arch(suffix)?.as_u64()
}

/// A number for each layer, or one for all.
pub(super) fn numbers(metadata: &Metadata, suffix: &str) -> Option<Vec<u64>> {
    let value = metadata.arch(suffix)?;
    let Some(array) = value.as_array() else {
        return value.as_u64().map(|n| vec![n]);
    };
    Some(match array {
        Array::U32(v) => v.iter().map(|&n| n.into()).collect(),
        Array::I32(v) => v.iter().map(|&n| u64::try_from(n).unwrap_or(0)).collect(),
        Array::U64(v) => v.clone(),
        Array::I64(v) => v.iter().map(|&n| u64::try_from(n).unwrap_or(0)).collect(),
        Array::U16(v) => v.iter().map(|&n| n.into()).collect(),
        Array::U8(v) => v.iter().map(|&n| n.into()).collect(),
        Array::Bool(v) => v.iter().map(|&n| n.into()).collect(),
        _ => return None,
    })
}

/// A flag for each layer, where the key holds a list.
pub(super) fn flags(metadata: &Metadata, suffix: &str) -> Option<Vec<bool>> {
    metadata.arch(suffix)?.as_array()?;
    Some(numbers(metadata, suffix)?.into_iter().map(|n| n != 0).collect())
}
