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

/// Reads an amount of memory, which is made and sold in powers of 1024: of these are K, M, G and T here, as are KiB, MiB,
/// GiB and TiB.
pub(crate) fn parse_memory(text: &str) -> Result<NonZeroU64, String> {
    let bytes = ::parse_size::Config::new().with_binary().parse_size(text);
    let bytes = bytes.map_err(|e| format!("{e}: expected an amount of memory, as 24G or 24GiB"))?;
    NonZeroU64::new(bytes).ok_or_else(|| "expected a positive size".to_owned())
}

/// Reads a number of tokens: `k` and `m` are 1024 and 1024 of that, as contexts go.
pub(crate) fn parse_tokens(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a number of tokens, as 32768 or 32k, found {text:?}");
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        _ => (text, 1u64),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(factor).filter(|&n| n > 0).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::{parse_memory, parse_size, parse_tokens};

    #[test]
    fn memory_and_tokens() {
        let read = |text| parse_memory(text).map(u64::from);
        assert_eq!(read("24G"), Ok(24 << 30));
        assert_eq!(read("24GiB"), Ok(24 << 30));
        assert_eq!(read("512M"), Ok(512 << 20));
        assert!(read("0").is_err() && read("G").is_err() && read("24X").is_err());
        assert_eq!(parse_tokens("32k"), Ok(32768));
        assert_eq!(parse_tokens("4096"), Ok(4096));
        assert_eq!(parse_tokens("1M"), Ok(1 << 20));
        for wrong in [
            "",
            "k",
            "0",
            "-1",
            "1.5k",
            "99999999999999999999",
            "18014398509481984k",
        ] {
            assert!(parse_tokens(wrong).is_err(), "{wrong:?}");
        }
    }

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
