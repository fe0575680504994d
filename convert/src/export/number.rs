//! Numbers of a GGUF file in JSON.

use gguf::Value as GgufValue;
use serde_json::Value;

/// A number, in its shortest spelling where it is a float.
pub(super) fn number(key: &str, value: &GgufValue) -> Result<Value, String> {
    if let Some(n) = value.as_u64() {
        return Ok(n.into());
    }
    match value {
        GgufValue::F32(x) if x.is_finite() => {
            // As many digits as tell it from its neighbours.
            let shortest: f64 = x.to_string().parse().map_err(|e| format!("{key}: {e}"))?;
            Ok(shortest.into())
        }
        other => Err(format!(
            "key {key}: expected one number, found a value of type {}",
            other.value_type()
        )),
    }
}
