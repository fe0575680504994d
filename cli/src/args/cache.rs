//! Argument for the types of cached keys and values.

use gguf::TensorType;
use reference::memory::CACHE_TYPES;

/// Types of cached keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheTypes {
    pub(crate) keys: TensorType,
    pub(crate) values: TensorType,
}

impl Default for CacheTypes {
    fn default() -> Self {
        Self {
            keys: TensorType::F16,
            values: TensorType::F16,
        }
    }
}

impl CacheTypes {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let one = |name: &str| {
            let found = CACHE_TYPES
                .into_iter()
                .find(|t| t.name().eq_ignore_ascii_case(name));
            found.ok_or_else(|| {
                let names: Vec<String> = CACHE_TYPES.iter().map(|t| t.name().to_lowercase()).collect();
                format!("{name:?} is no type of a cache; these are: {}", names.join(", "))
            })
        };
        let (keys, values) = text.split_once(',').unwrap_or((text, text));
        Ok(Self {
            keys: one(keys)?,
            values: one(values)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_caches() {
        let types = CacheTypes::parse("q8_0").unwrap();
        assert_eq!((types.keys, types.values), (TensorType::Q8_0, TensorType::Q8_0));
        let types = CacheTypes::parse("q8_0,Q4_0").unwrap();
        assert_eq!((types.keys, types.values), (TensorType::Q8_0, TensorType::Q4_0));
        let error = CacheTypes::parse("q4_k").unwrap_err();
        assert!(error.contains("these are: f32, f16, bf16, q8_0"), "{error}");
    }
}
