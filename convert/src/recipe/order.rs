//! The order in which llama.cpp walks a model's tensors, which is also their order in its output.

use std::cmp::Ordering;

/// The layer of a `blk.N.…` name, or `None`. Reads the number as C's `sscanf("blk.%d.")` does:
/// what follows it does not matter.
pub(crate) fn layer_of(name: &str) -> Option<i32> {
    let rest = name.strip_prefix("blk.")?.trim_ascii_start();
    let (negative, digits) = match rest.as_bytes().first()? {
        b'-' => (true, &rest[1..]),
        b'+' => (false, &rest[1..]),
        _ => (false, rest),
    };
    let end = digits
        .bytes()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(digits.len());
    let value: i32 = digits[..end].parse().ok()?;
    Some(if negative { -value } else { value })
}

/// Compares two names: tensors outside layers first, then by layer, then by the bytes of the name.
pub(crate) fn by_layer(a: &str, b: &str) -> Ordering {
    let layer = |name| layer_of(name).unwrap_or(-1);
    layer(a).cmp(&layer(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_sort_by_number() {
        let mut names = vec![
            "blk.10.a",
            "blk.2.b",
            "token_embd.weight",
            "blk.2.a",
            "output.weight",
            "blkx",
        ];
        names.sort_by(|a, b| by_layer(a, b));
        assert_eq!(
            names,
            [
                "blkx",
                "output.weight",
                "token_embd.weight",
                "blk.2.a",
                "blk.2.b",
                "blk.10.a"
            ]
        );
        assert_eq!(layer_of("blk.7"), Some(7));
        assert_eq!(layer_of("blk.x"), None);
        assert_eq!(layer_of("blk."), None);
        assert_eq!(layer_of("blk.99999999999."), None);
    }
}
