//! Metadata keys given on the command line, as `--override-kv` has them.

use convert::recipe::KvOverride;
use gguf::Value;

/// Reads `KEY=TYPE:VALUE` within llama.cpp's limits.
pub(crate) fn parse_kv_override(text: &str) -> Result<KvOverride, String> {
    const MAX_KEY_BYTES: usize = 127;
    const MAX_TEXT_BYTES: usize = 127;
    let (key, typed) = text.split_once('=').ok_or("expected KEY=TYPE:VALUE")?;
    let (ty, value) = typed.split_once(':').ok_or("expected KEY=TYPE:VALUE")?;
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(format!("the key must have 1 to {MAX_KEY_BYTES} bytes"));
    }
    let value = match ty {
        "int" => Value::I64(value.parse().map_err(|e| format!("{value:?}: {e}"))?),
        "float" => Value::F64(value.parse().map_err(|e| format!("{value:?}: {e}"))?),
        "bool" => Value::Bool(
            value
                .parse()
                .map_err(|_| format!("{value:?} is neither true nor false"))?,
        ),
        "str" if value.len() > MAX_TEXT_BYTES => {
            return Err(format!("a string may have at most {MAX_TEXT_BYTES} bytes"));
        }
        "str" => Value::from(value),
        _ => return Err(format!("{ty:?} is none of int, float, bool, str")),
    };
    Ok(KvOverride {
        key: key.to_owned(),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides() {
        let o = parse_kv_override("a.b=int:-3").unwrap();
        assert_eq!((o.key.as_str(), o.value), ("a.b", Value::I64(-3)));
        let text = parse_kv_override("a=str:x:y=z").unwrap();
        assert_eq!(text.value, Value::from("x:y=z"));
        for wrong in ["a", "a=1", "a=int:x", "a=bool:1", "=int:1"] {
            assert!(parse_kv_override(wrong).is_err(), "{wrong:?}");
        }
    }
}
