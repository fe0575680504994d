//! Arguments for memory, and for runs that can be continued.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use convert::pipeline::DEFAULT_MAX_MEMORY;

use super::size::parse_size;
use crate::interrupt::can_be_continued;

/// Options for memory and continued runs.
#[derive(clap::Args)]
pub(crate) struct MemoryArgs {
    /// Keep what is written when the run is interrupted, and continue a run that was, with the same bytes in
    /// the end
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    buffers: BufferArgs,
}

/// Options for memory.
#[derive(clap::Args)]
pub(crate) struct BufferArgs {
    /// Memory for buffers, as 256MiB, 2G or bytes (K, M, G: powers of 1000; KiB, MiB, GiB: of 1024) [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_memory: Option<NonZeroU64>,

    /// The same in MiB, as llama-quantize names it
    #[arg(long, value_name = "MIB", conflicts_with = "max_memory")]
    max_buffer_size: Option<std::num::NonZeroU32>,
}

impl BufferArgs {
    /// The bound in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let mib = self.max_buffer_size.map(|n| u64::from(n.get()) << 20);
        self.max_memory
            .map(NonZeroU64::get)
            .or(mib)
            .unwrap_or(DEFAULT_MAX_MEMORY)
    }
}

impl MemoryArgs {
    /// A bound in bytes, for runs that are not continued.
    pub(crate) fn at_most(bytes: u64) -> Self {
        Self {
            resume: false,
            buffers: BufferArgs {
                max_memory: NonZeroU64::new(bytes),
                max_buffer_size: None,
            },
        }
    }

    /// Whether the run is to be one that can be continued.
    pub(crate) fn resume(&self) -> bool {
        self.resume
    }

    /// The bound in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.buffers.bytes()
    }

    /// The journal beside an output, when the run is to be one that can be continued; if it is interrupted, the
    /// user is told so.
    pub(crate) fn journal(&self, output: &Path) -> Option<PathBuf> {
        if !self.resume {
            can_be_continued(
                "temporary files are removed; with --resume, what is written stays and the same command continues".to_owned(),
            );
            return None;
        }
        let mut name = OsString::from(".");
        name.push(output.file_name()?);
        name.push(".journal");
        can_be_continued("what is written stays; the same command, with --resume, continues".to_owned());
        Some(output.with_file_name(name))
    }
}
