//! `quantsmith quantize`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use convert::kind::Kind;
use convert::quantize::{QuantizeOptions, default_output};
use convert::recipe::{KvOverride, PRESETS, Preset, unknown_preset};
use convert::source::{GgufSource, Source};

use crate::args::memory::MemoryArgs;
use crate::args::shards::ShardArgs;
use crate::inputs::hold;
use crate::quantizing::{Quantizing, QuantizingArgs};

/// Arguments of `quantsmith quantize`.
#[derive(clap::Args)]
#[command(
    after_help = presets_help(),
    override_usage = "quantsmith quantize [OPTIONS] <IN.gguf> [OUT.gguf] <PRESET> [THREADS]"
)]
pub(crate) struct Args {
    /// IN.gguf [OUT.gguf] PRESET [THREADS]; without OUT.gguf, ggml-model-PRESET.gguf beside the input. Where types are
    /// chosen, PRESET is what the file is called after: without it, the preset nearest in size
    #[arg(required = true, num_args = 2..=4, value_name = "OPERAND")]
    operands: Vec<OsString>,

    #[command(flatten)]
    quantizing: QuantizingArgs,

    /// Allow changing tensors that are quantized already, at a loss of quality
    #[arg(long)]
    allow_requantize: bool,

    /// Quantize a model although it lacks tensors or keys that its architecture needs
    #[arg(long)]
    allow_incomplete: bool,

    /// Leave out these layers
    #[arg(long, value_name = "L0,L1,...", value_delimiter = ',')]
    prune_layers: Vec<u32>,

    /// Write one file for each shard of the input; OUT is then the prefix of their names
    #[arg(long, conflicts_with_all = ["split_max_tensors", "split_max_size", "no_tensor_first_split"])]
    keep_split: bool,

    /// Set a metadata key; TYPE is int, float, bool or str (repeatable)
    #[arg(long, value_name = "KEY=TYPE:VALUE", value_parser = KvOverride::parse)]
    override_kv: Vec<KvOverride>,

    /// Let --override-kv change the type of a key, and store numbers out of range as llama-quantize does
    #[arg(long)]
    force: bool,

    /// Show what would be written, with exact sizes; the headers of the input suffice
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    shards: ShardArgs,

    #[command(flatten)]
    memory: MemoryArgs,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Operands {
        input,
        output,
        preset,
        threads,
    } = Operands::parse(
        &args.operands,
        args.keep_split,
        args.quantizing.target.target().is_some(),
    )
    .unwrap_or_else(|e| clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{e:#}\n")).exit());
    let located = crate::hub::locate(&input, crate::hub::Need::of_run(args.dry_run))?;
    let input = located.path().to_path_buf();
    if input.is_dir() {
        bail!(
            "{}: a directory, expected a GGUF file: `quantsmith convert {} --outtype {}` quantizes a model directory in one \
             pass",
            input.display(),
            input.display(),
            preset.map_or("PRESET", Preset::name)
        );
    }
    hold([&input]);
    args.quantizing.hold();
    let source = if args.dry_run {
        GgufSource::open_headers(&input)?
    } else {
        GgufSource::open(&input)?
    };
    // An encoder is quantized as a model is.
    match Kind::of(source.metadata(), source.tensors().len()) {
        None | Some(Kind::Encoder) => {}
        Some(kind) => return Err(kind.instead_of_model(&input).into()),
    }
    if args.quantizing.optimize.learns() && !args.prune_layers.is_empty() {
        bail!("--optimize runs the whole model: prune layers first, then optimize what is left");
    }
    Quantizing {
        source: &source,
        from: &input,
        output: &output,
        preset,
        options: QuantizeOptions::new(Preset::Q8_0)
            .allow_incomplete(args.allow_incomplete)
            .allow_requantize(args.allow_requantize)
            .prune_layers(args.prune_layers)
            .keep_split(args.keep_split)
            .kv_overrides(args.override_kv)
            .force_overrides(args.force)
            .shards(args.shards.gguf_split()),
        args: &args.quantizing,
        memory: &args.memory,
        threads,
        endian: None,
        dry_run: args.dry_run,
        json: args.json,
    }
    .run()
}

/// The operands, told apart as llama-quantize does: the second is a preset, or else the output.
struct Operands {
    input: PathBuf,
    output: PathBuf,
    /// Where types are chosen, it may be missing.
    preset: Option<Preset>,
    threads: usize,
}

impl Operands {
    fn parse(operands: &[OsString], keep_split: bool, chosen: bool) -> anyhow::Result<Self> {
        let preset_of = |name: &OsStr| name.to_str().and_then(Preset::parse);
        let unknown = |name: &OsStr| unknown_preset(&name.to_string_lossy());
        let (input, rest) = operands.split_first().context("the input is missing")?;
        let input = PathBuf::from(input);
        let (output, preset, rest) = match rest {
            [first, rest @ ..] if preset_of(first).is_some() => (None, first, rest),
            [output, preset, rest @ ..] => (Some(output), preset, rest),
            [output] if chosen => {
                return Ok(Self {
                    input,
                    output: named(output, keep_split),
                    preset: None,
                    threads: 0,
                });
            }
            [only] => bail!(unknown(only)),
            [] => bail!("the preset is missing"),
        };
        let preset = preset_of(preset).with_context(|| unknown(preset))?;
        let threads = match rest {
            [] => 0,
            [threads] => threads
                .to_str()
                .and_then(|t| t.parse().ok())
                .with_context(|| format!("threads: expected a number, found {threads:?}"))?,
            [_, extra, ..] => bail!("unexpected operand {extra:?}"),
        };
        let output = match output {
            None => default_output(&input, preset, keep_split),
            Some(path) => named(path, keep_split),
        };
        Ok(Self {
            input,
            output,
            preset: Some(preset),
            threads,
        })
    }
}

/// The output, or the prefix of its shards' names.
fn named(path: &OsStr, keep_split: bool) -> PathBuf {
    // What llama-quantize takes off is the length of the extension.
    if keep_split && path.to_string_lossy().contains(".gguf") {
        let cut = path.to_str().and_then(|p| p.get(..p.len() - ".gguf".len()));
        return cut.map_or_else(|| Path::new(path).with_extension(""), PathBuf::from);
    }
    path.into()
}

fn presets_help() -> String {
    let mut text = String::from("Presets:\n");
    for info in PRESETS {
        let id = info.file_type.map_or(String::new(), |id| id.to_string());
        let alias = info.alias.map_or(String::new(), |a| format!(" (also {a})"));
        text += &format!("  {id:>2}  {:<10} {}{alias}\n", info.name, info.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operands(list: &[&str], keep_split: bool) -> anyhow::Result<Operands> {
        let list: Vec<OsString> = list.iter().map(OsString::from).collect();
        Operands::parse(&list, keep_split, false)
    }

    #[test]
    fn operands_are_those_of_llama_quantize() {
        let o = operands(&["dir/in.gguf", "q4_k", "4"], false).unwrap();
        assert_eq!(o.output, Path::new("dir/ggml-model-Q4_K_M.gguf"));
        assert_eq!((o.preset, o.threads), (Some(Preset::Q4_K_M), 4));
        let o = operands(&["in.gguf", "out.gguf", "15"], false).unwrap();
        assert_eq!(
            (o.output.as_path(), o.preset),
            (Path::new("out.gguf"), Some(Preset::Q4_K_M))
        );
        let o = operands(&["in.gguf", "out.gguf", "Q8_0"], true).unwrap();
        assert_eq!(o.output, Path::new("out"));
        for wrong in [&["in", "out"][..], &["in", "out", "Q9"], &["in", "Q8_0", "x"]] {
            assert!(operands(wrong, false).is_err(), "{wrong:?}");
        }
    }
}
