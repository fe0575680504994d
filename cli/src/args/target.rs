//! Arguments for types that are chosen for a model.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use convert::recipe::Preset;
use gguf::TensorType;
use optimize::allocate::{self, DEFAULT_POOL, Method};
use reference::memory::{RESERVE, Settings};

use super::cache::CacheTypes;
use super::size::{parse_memory, parse_size, parse_tokens};

/// Heading of these options in the help.
const HEADING: &str = "Types chosen for the model";

/// Options for types that are chosen for a model.
#[derive(clap::Args)]
pub(crate) struct TargetArgs {
    /// Choose the type of every tensor so that the file has at most this size, as 15.5G or bytes (K, M, G: powers of
    /// 1000; KiB, MiB, GiB: of 1024), and predictions change least
    #[arg(help_heading = HEADING, long, value_name = "SIZE", value_parser = parse_size, group = "target")]
    target_size: Option<NonZeroU64>,

    /// The same by bits per weight over all tensors
    #[arg(help_heading = HEADING, long, value_name = "BITS", value_parser = parse_bits, group = "target")]
    target_bpw: Option<f64>,

    /// The same by the size of a preset
    #[arg(help_heading = HEADING, long, value_name = "PRESET", value_parser = parse_preset, group = "target")]
    same_size_as: Option<Preset>,

    /// The same by the memory of a GPU that it has to fit with its cache and buffers, as 24G (G is GiB here, as memory is
    /// sold); 1 GiB of it stays free
    #[arg(help_heading = HEADING, long, value_name = "SIZE", value_parser = parse_memory, group = "target")]
    fit_vram: Option<NonZeroU64>,

    /// Tokens of context for --fit-vram, as 32k [default: those the model was trained on]
    #[arg(help_heading = HEADING, long, value_name = "TOKENS", value_parser = parse_tokens, requires = "fit_vram",
        conflicts_with_all = ["target_size", "target_bpw", "same_size_as"])]
    ctx: Option<u64>,

    /// Type of cached keys and values for --fit-vram, or of each, separated by a comma [default: f16]
    #[arg(help_heading = HEADING, long, value_name = "TYPE[,TYPE]", value_parser = CacheTypes::parse, requires = "fit_vram",
        conflicts_with_all = ["target_size", "target_bpw", "same_size_as"])]
    kv: Option<CacheTypes>,

    /// Types to choose from: names, or default, k, i, legacy; one behind a minus is left out, as in -iq1_s,-iq1_m
    #[arg(help_heading = HEADING, long, value_name = "LIST", value_parser = parse_pool, requires = "target", allow_hyphen_values = true)]
    pool: Option<Pool>,

    /// File of what each type of each tensor costs: read where it is there, else measured and written; or how to
    /// measure, gradient or probe (a file of that name: ./probe) [default: gradient, where the model's design has a
    /// backward pass] (repeatable)
    #[arg(help_heading = HEADING, long, value_name = "FILE|METHOD", requires = "target")]
    sensitivity: Vec<PathBuf>,

    /// Text to measure over; its last eighth is kept for the check
    #[arg(help_heading = HEADING, long, value_name = "FILE", requires = "target")]
    sensitivity_text: Option<PathBuf>,

    /// Measure over at most this many windows of 512 tokens
    #[arg(help_heading = HEADING, long, value_name = "N", requires = "target", default_value_t = 32)]
    sensitivity_chunks: usize,

    /// Check the choice on at most this many windows of the part of the text that it was not made from: correct it by
    /// what its tensors cost in place, and keep the preset of that size where that is better; 0: no check
    #[arg(help_heading = HEADING, long, value_name = "N", requires = "target", default_value_t = 8)]
    check_chunks: usize,

    /// Write the chosen types as rules for --tensor-type-file, here and in llama-quantize
    #[arg(help_heading = HEADING, long, value_name = "FILE", requires = "target")]
    save_recipe: Option<PathBuf>,
}

/// A size to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    Bytes(u64),
    BitsPerWeight(f64),
    SameAs(Preset),
    Vram(Vram),
}

/// Memory of a GPU, and the context that a model runs in there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Vram {
    /// Bytes, without those that stay free.
    pub(crate) memory: u64,
    pub(crate) settings: Settings,
}

/// Types to choose from.
#[derive(Clone, Debug)]
struct Pool(Vec<TensorType>);

impl TargetArgs {
    /// The size to reach, where types are chosen.
    pub(crate) fn target(&self) -> Option<Target> {
        let size = self.target_size.map(|n| Target::Bytes(n.get()));
        size.or(self.target_bpw.map(Target::BitsPerWeight))
            .or(self.same_size_as.map(Target::SameAs))
            .or(self.fit_vram.map(|memory| Target::Vram(self.vram(memory.get()))))
    }

    /// Whether options are given that are of --fit-vram alone.
    pub(crate) fn describes_cache(&self) -> bool {
        self.ctx.is_some() || self.kv.is_some()
    }

    fn vram(&self, memory: u64) -> Vram {
        let cache = self.kv.unwrap_or_default();
        Vram {
            memory: memory.saturating_sub(RESERVE),
            settings: Settings::default()
                .context(self.ctx.unwrap_or(0))
                .key_type(cache.keys)
                .value_type(cache.values),
        }
    }

    /// Whether the model has to be run to find what types cost.
    pub(crate) fn measures(&self) -> bool {
        self.file().is_none_or(|file| !file.exists())
    }

    /// Refuses a dry run that would have to run the model.
    pub(crate) fn check_dry_run(&self, dry_run: bool) -> anyhow::Result<()> {
        if dry_run && self.measures() {
            anyhow::bail!(
                "--dry-run measures nothing: it needs a file of what was measured before (--sensitivity FILE)"
            );
        }
        Ok(())
    }

    pub(crate) fn pool(&self) -> &[TensorType] {
        self.pool.as_ref().map_or(DEFAULT_POOL, |pool| &pool.0)
    }

    /// The method, where one is named.
    pub(crate) fn method(&self) -> Option<Method> {
        self.sensitivity.iter().rev().find_map(|value| method_of(value))
    }

    /// The file, where one is named.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.sensitivity
            .iter()
            .rev()
            .find(|value| method_of(value).is_none())
            .map(PathBuf::as_path)
    }

    pub(crate) fn text(&self) -> Option<&Path> {
        self.sensitivity_text.as_deref()
    }

    /// Files that are read.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Path> {
        self.sensitivity_text.as_deref().into_iter()
    }

    pub(crate) fn chunks(&self) -> usize {
        self.sensitivity_chunks
    }

    pub(crate) fn check_chunks(&self) -> usize {
        self.check_chunks
    }

    pub(crate) fn recipe(&self) -> Option<&Path> {
        self.save_recipe.as_deref()
    }
}

fn method_of(value: &Path) -> Option<Method> {
    Method::from_name(value.to_str()?)
}

fn parse_pool(text: &str) -> Result<Pool, String> {
    allocate::parse_pool(text).map(Pool)
}

fn parse_preset(text: &str) -> Result<Preset, String> {
    Preset::parse(text)
        .filter(|preset| preset.base().is_quantized())
        .ok_or_else(|| "expected a preset such as Q4_K_M".to_owned())
}

fn parse_bits(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|bits: &f64| bits.is_finite() && *bits > 0.0)
        .ok_or_else(|| "expected a positive number of bits".to_owned())
}
