//! Sizes in bytes.

use std::num::NonZeroU64;

/// Reads a positive size: a number, alone or followed by K, M, G, T for powers of 1000 (as llama.cpp's tools read them) or
/// by KiB, MiB, GiB, TiB for powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<NonZeroU64, String> {
    let bytes = ::parse_size::Config::new().with_decimal().parse_size(text);
    let bytes = bytes
        .map_err(|e| format!("{e}: expected bytes, or a number followed by K, M, G or KiB, MiB, GiB"))?;
    NonZeroU64::new(bytes).ok_or_else(|| "expected a positive size".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        let read = |text| parse_size(text).map(u64::from);
        // As llama.cpp's converter and gguf-split read them.
        assert_eq!(read("5K"), Ok(5000));
        assert_eq!(read("256M"), Ok(256_000_000));
        assert_eq!(read("2G"), Ok(2_000_000_000));
        assert_eq!(read("4096"), Ok(4096));
        assert_eq!(read("2GiB"), Ok(2 << 30));
        assert_eq!(read("1.5 MiB"), Ok(3 << 19));
        for wrong in ["", "M", "0", "-1", "1X", "99999999999T", "0.1"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
