//! Types to choose from.

use gguf::TensorType;
use gguf::TensorType as T;

/// The types that are chosen from unless others are named: by growing size.
pub const DEFAULT_POOL: &[TensorType] = &[
    T::IQ1_S,
    T::IQ1_M,
    T::IQ2_XXS,
    T::IQ2_XS,
    T::IQ2_S,
    T::Q2_K,
    T::IQ3_XXS,
    T::IQ3_S,
    T::Q3_K,
    T::IQ4_XS,
    T::IQ4_NL,
    T::Q4_K,
    T::Q5_K,
    T::Q6_K,
    T::Q8_0,
];

/// Names of several types.
const GROUPS: &[(&str, &[TensorType])] = &[
    ("default", DEFAULT_POOL),
    ("k", &[T::Q2_K, T::Q3_K, T::Q4_K, T::Q5_K, T::Q6_K, T::Q8_0]),
    (
        "i",
        &[
            T::IQ1_S,
            T::IQ1_M,
            T::IQ2_XXS,
            T::IQ2_XS,
            T::IQ2_S,
            T::IQ3_XXS,
            T::IQ3_S,
            T::IQ4_XS,
            T::IQ4_NL,
        ],
    ),
    ("legacy", &[T::Q4_0, T::Q4_1, T::Q5_0, T::Q5_1, T::Q8_0]),
];

/// Reads a list such as `k,iq4_xs` or `default,-iq1_s,-iq1_m`: types and groups of types (`default`, `k`, `i`,
/// `legacy`), separated by commas; one behind a minus is taken out again. A list that begins with a minus begins with
/// the default.
///
/// # Errors
/// A name that is no type that can be encoded, and a list that leaves none.
pub fn parse_pool(text: &str) -> Result<Vec<TensorType>, String> {
    let mut pool: Vec<TensorType> = Vec::new();
    if text.trim_start().starts_with('-') {
        pool.extend(DEFAULT_POOL);
    }
    for item in text.split(',').map(str::trim) {
        let (name, remove) = match item.strip_prefix('-') {
            Some(name) => (name, true),
            None => (item, false),
        };
        let lower = name.to_ascii_lowercase();
        let one = TensorType::from_name(&lower).filter(|&ty| ty.is_quantized() || is_plain(ty));
        let one = one.filter(|&ty| quants::can_encode(ty));
        let types: &[TensorType] = match (GROUPS.iter().find(|(group, _)| *group == lower), &one) {
            (Some((_, types)), _) => types,
            (None, Some(ty)) => std::slice::from_ref(ty),
            (None, None) => {
                return Err(format!(
                    "{name:?}: expected types such as q4_k, or default, k, i, legacy"
                ));
            }
        };
        pool.retain(|ty| !types.contains(ty));
        if !remove {
            pool.extend(types);
        }
    }
    if pool.is_empty() {
        return Err(format!("{text:?}: no type is left"));
    }
    Ok(pool)
}

fn is_plain(ty: TensorType) -> bool {
    matches!(ty, T::F16 | T::BF16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_types() {
        assert_eq!(parse_pool("q4_K, Q6_k"), Ok(vec![T::Q4_K, T::Q6_K]));
        let without = parse_pool("-iq1_s,-iq1_m").unwrap();
        assert_eq!(without.len(), DEFAULT_POOL.len() - 2);
        assert!(!without.contains(&T::IQ1_S) && without.contains(&T::IQ2_XXS));
        assert_eq!(parse_pool("k,-q2_k,q8_0").unwrap().len(), 5);
        assert!(parse_pool("i,legacy").unwrap().contains(&T::Q4_0));
        for wrong in ["", "q9", "k,", "q4_k,-q4_k", "i32", "f64"] {
            assert!(parse_pool(wrong).is_err(), "{wrong:?}");
        }
    }
}
