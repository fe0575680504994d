//! Arguments that cut an output into shards.

use std::num::NonZeroU64;

use convert::distribute::SplitRequest;
use convert::shards::Shards;
use gguf::split::{Limit, SplitOptions};

use super::size::parse_size;

/// Heading of these options in the help.
const HEADING: &str = "Shards";

/// Options for shards.
#[derive(clap::Args)]
pub(crate) struct ShardArgs {
    /// Write shards of at most this many tensors
    #[arg(help_heading = HEADING, long, value_name = "N", conflicts_with = "split_max_size")]
    split_max_tensors: Option<NonZeroU64>,

    /// Write shards of at most this size: N bytes, or NK, NM, NG, of 10^3, 10^6 and 10^9 bytes
    #[arg(help_heading = HEADING, long, value_name = "SIZE", value_parser = parse_size)]
    split_max_size: Option<NonZeroU64>,

    /// Leave the first shard without tensors
    #[arg(help_heading = HEADING, long)]
    no_tensor_first_split: bool,
}

impl ShardArgs {
    /// The limits that a plan has.
    pub(crate) fn of(request: &SplitRequest) -> Self {
        Self {
            split_max_tensors: request.max_tensors.and_then(NonZeroU64::new),
            split_max_size: request.max_bytes.and_then(NonZeroU64::new),
            no_tensor_first_split: request.no_tensor_first_split,
        }
    }

    fn limit(&self) -> Option<Limit> {
        let bytes = self.split_max_size.map(|n| Limit::Bytes(n.get()));
        bytes.or(self.split_max_tensors.map(|n| Limit::Tensors(n.get())))
    }

    /// As llama-gguf-split cuts, if any of these arguments is there.
    pub(crate) fn gguf_split(&self) -> Option<Shards> {
        let given = self.no_tensor_first_split || self.limit().is_some();
        given.then(|| {
            let default = SplitOptions::default();
            Shards::GgufSplit(
                SplitOptions::default()
                    .limit(self.limit().unwrap_or(default.limit))
                    .no_tensor_first_split(self.no_tensor_first_split),
            )
        })
    }

    /// The limits as `table.json` records them, if any of these arguments is there.
    pub(crate) fn record(&self) -> Option<publish::record::ShardLimits> {
        let given = self.no_tensor_first_split || self.limit().is_some();
        given.then(|| publish::record::ShardLimits {
            tensors: self.split_max_tensors.map(NonZeroU64::get),
            bytes: self.split_max_size.map(NonZeroU64::get),
            first_without_tensors: self.no_tensor_first_split,
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
