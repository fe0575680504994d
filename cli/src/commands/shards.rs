//! Arguments that cut an output into shards.

use std::num::NonZeroU64;

use convert::shards::Shards;
use gguf::split::{Limit, SplitOptions};

/// Options for shards.
#[derive(clap::Args)]
pub(crate) struct ShardArgs {
    /// Write shards of at most this many tensors
    #[arg(long, value_name = "N", conflicts_with = "split_max_size")]
    split_max_tensors: Option<NonZeroU64>,

    /// Write shards of at most this size: N, NK, NM or NG, of 10^3, 10^6 and 10^9 bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    split_max_size: Option<NonZeroU64>,

    /// Leave the first shard without tensors
    #[arg(long)]
    no_tensor_first_split: bool,
}

impl ShardArgs {
    fn limit(&self) -> Option<Limit> {
        let bytes = self.split_max_size.map(|n| Limit::Bytes(n.get()));
        bytes.or(self.split_max_tensors.map(|n| Limit::Tensors(n.get())))
    }

    /// As llama-gguf-split cuts, if any of these arguments is there.
    pub(crate) fn gguf_split(&self) -> Option<Shards> {
        let given = self.no_tensor_first_split || self.limit().is_some();
        given.then(|| {
            let default = SplitOptions::default();
            Shards::GgufSplit(SplitOptions {
                limit: self.limit().unwrap_or(default.limit),
                no_tensor_first_split: self.no_tensor_first_split,
            })
        })
    }

    /// As the stock converter cuts.
    pub(crate) fn converter(&self) -> Shards {
        Shards::Converter {
            limit: self.limit(),
            no_tensor_first_split: self.no_tensor_first_split,
        }
    }
}

/// A size as the stock converter takes it.
fn parse_size(text: &str) -> Result<NonZeroU64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    bytes
        .and_then(NonZeroU64::new)
        .ok_or_else(|| format!("{text:?} is no positive whole number, alone or followed by K, M or G"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_stock_converter_reads_them() {
        assert_eq!(parse_size("5K").unwrap().get(), 5000);
        assert_eq!(parse_size("2G").unwrap().get(), 2_000_000_000);
        assert_eq!(parse_size("123").unwrap().get(), 123);
        for bad in [
            "",
            "0",
            "-1",
            "1.5G",
            "G",
            "1T",
            "99999999999999999999",
            "1\u{e9}",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
