//! `quantsmith convert`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use convert::pipeline::{PipelineOptions, write as run_plans};
use convert::plan::OutputPlan;
use convert::quantize::QuantizeOptions;
use convert::recipe::{PRESETS, Preset, unknown_preset};
use convert::shards::cut;
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType, Prediction};
use gguf::Endian;

use crate::architectures;
use crate::args::architecture::ArchitectureArgs;
use crate::args::memory::MemoryArgs;
use crate::args::shards::ShardArgs;
use crate::hub;
use crate::inputs::hold;
use crate::progress::metered;
use crate::quantizing::{Quantizing, QuantizingArgs};

/// Arguments of `quantsmith convert`.
#[derive(clap::Args)]
#[command(after_help = outtypes_help())]
pub(crate) struct Args {
    /// Directory with config.json, safetensors and tokenizer, or a model of the hub: ORG/MODEL[@REVISION]
    #[arg(required_unless_present_any = ["list", "print_arch"])]
    model_dir: Option<PathBuf>,

    /// File to write, or directory to write it into; {ftype} in it becomes the output type [default: a
    /// name made of the model's, in MODEL_DIR or, where that is the hub's cache, in the current directory]
    #[arg(value_name = "OUT.gguf")]
    out: Option<PathBuf>,

    /// The same as OUT.gguf
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    outfile: Option<PathBuf>,

    /// f32, f16, bf16, q8_0, tq1_0, tq2_0 as the stock converter writes them; auto for the model's own
    /// 16-bit type; or a preset, to quantize in the same pass
    #[arg(long, value_name = "TYPE", default_value = DEFAULT_OUTTYPE, value_parser = parse_outtype)]
    outtype: String,

    /// Write the vocabulary without the tensors
    #[arg(long)]
    vocab_only: bool,

    /// Convert the image encoder and its projector, for llama.cpp's --mmproj, instead of the text model
    #[arg(long, conflicts_with = "vocab_only")]
    mmproj: bool,

    /// Convert the dense modules of sentence-transformers (2_Dense, 3_Dense) too
    #[arg(long, conflicts_with_all = ["vocab_only", "mmproj"])]
    sentence_transformers_dense_modules: bool,

    /// Read Mistral's own layout (params.json, consolidated*.safetensors, tekken.json) also where config.json is there
    #[arg(long)]
    mistral_format: bool,

    /// Of Mistral's own layout, write no name of a chat template where the directory has no chat_template.jinja
    #[arg(long)]
    disable_mistral_community_chat_template: bool,

    /// Of a draft model (EAGLE-3, DFlash, DSpark): the directory of the model that it drafts for
    #[arg(long, value_name = "DIR", conflicts_with = "mmproj")]
    target_model_dir: Option<PathBuf>,

    /// Put queries, keys and values of each layer into one tensor, where the architecture has a place for it
    #[arg(long, conflicts_with_all = ["vocab_only", "mmproj"])]
    fuse_qkv: bool,

    /// Put gates and what they gate of each layer's experts into one tensor
    #[arg(long, conflicts_with_all = ["vocab_only", "mmproj"])]
    fuse_gate_up_exps: bool,

    /// Store weights that are decoded from FP8 as Q8_0, whatever the output type; not with a preset
    #[arg(long, conflicts_with = "vocab_only")]
    fp8_as_q8: bool,

    /// Write only the layers that predict further tokens, for speculative decoding, to a file of their own
    #[arg(long, conflicts_with_all = ["no_mtp", "vocab_only", "mmproj"])]
    mtp: bool,

    /// Leave out the layers that predict further tokens
    #[arg(long, visible_alias = "no-nextn", conflicts_with = "mmproj")]
    no_mtp: bool,

    /// The model's name, instead of what its directory and card suggest
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,

    /// JSON file with general.* keys that override those of the model card
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,

    #[command(flatten)]
    architecture: ArchitectureArgs,

    /// Name of the pre-tokenizer, instead of finding it by what the tokenizer does
    #[arg(long, value_name = "NAME", value_parser = parse_pre_tokenizer)]
    pre_tokenizer: Option<String>,

    #[command(flatten)]
    quantizing: QuantizingArgs,

    /// With a preset: change weights whose blocks are otherwise kept as they are stored (MXFP4), at a loss of
    /// quality
    #[arg(long)]
    allow_requantize: bool,

    #[command(flatten)]
    shards: ShardArgs,

    /// Write numbers with the highest byte first, for big-endian machines
    #[arg(long)]
    bigendian: bool,

    #[command(flatten)]
    memory: MemoryArgs,

    /// Threads; 0 for as many as the machine runs at once
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    threads: usize,

    /// Show what would be written, with exact sizes; the headers of the safetensors files suffice
    #[arg(long)]
    dry_run: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    /// Accepted for scripts that call llama.cpp's converter; without effect, as weights are streamed within --max-memory
    #[arg(long)]
    no_lazy: bool,

    /// The same
    #[arg(long)]
    use_temp_file: bool,

    /// Accepted for the same scripts: a model of the hub is known by its name, ORG/MODEL
    #[arg(long)]
    remote: bool,

    /// List the model classes that can be converted
    #[arg(long, visible_alias = "print-supported-models")]
    list: bool,

    /// Print a built-in architecture (llama, qwen2, qwen3, gemma, gemma2, gemma3) as a file for --arch-file
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model_dir", "list"])]
    print_arch: Option<String>,
}

/// The model's own 16-bit type; where types are chosen, theirs.
const DEFAULT_OUTTYPE: &str = "auto";

/// Form of the output.
enum Target {
    /// As the stock converter writes it.
    Stock(OutType),
    /// As llama-quantize makes it.
    Preset(Preset),
    /// The same with types chosen for the model, called after the preset nearest in size.
    Chosen,
}

impl Target {
    fn parse(args: &Args) -> anyhow::Result<Self> {
        if args.quantizing.target.target().is_some() && args.outtype == DEFAULT_OUTTYPE {
            if args.vocab_only || args.mmproj {
                bail!("--vocab-only and --mmproj have no types to choose");
            }
            return Ok(Self::Chosen);
        }
        let rules = args.quantizing.given() || args.allow_requantize;
        match (OutType::from_name(&args.outtype), Preset::parse(&args.outtype)) {
            (Some(outtype), _) if !rules => Ok(Self::Stock(outtype)),
            (_, Some(_)) if args.mmproj => {
                bail!("an image encoder is not quantized: --mmproj takes no preset")
            }
            (_, Some(_)) if args.fp8_as_q8 => {
                bail!("--fp8-as-q8 gives weights their type, and a preset does: expected one of both")
            }
            (_, Some(preset)) if !args.vocab_only => Ok(Self::Preset(preset)),
            (Some(_), None) => {
                bail!(
                    "explicit types, importance, --optimize, --allow-requantize and sizes to reach need a preset as \
                     --outtype"
                )
            }
            (_, Some(_)) => bail!("a vocabulary alone is not quantized: --vocab-only takes no preset"),
            (None, None) => bail!(parse_outtype(&args.outtype).err().unwrap_or_default()),
        }
    }
}

/// Accepts the names that readers of GGUF files know.
pub(super) fn parse_pre_tokenizer(name: &str) -> Result<String, String> {
    if reference::tokenizer::pre_tokenizers().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let known: Vec<&str> = reference::tokenizer::pre_tokenizers().collect();
    Err(format!("no pre-tokenizer; these are: {}", known.join(", ")))
}

/// Accepts the names of output types and presets.
fn parse_outtype(text: &str) -> Result<String, String> {
    if OutType::from_name(text).is_some() || Preset::parse(text).is_some() {
        return Ok(text.to_owned());
    }
    Err(format!(
        "no output type; these are: {}; {}",
        OutType::NAMES.join(", "),
        unknown_preset(text)
    ))
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    if args.list {
        return print_classes(args.json);
    }
    if let Some(name) = &args.print_arch {
        return print_architecture(name);
    }
    let named = args
        .model_dir
        .as_deref()
        .context("the model directory is missing")?;
    let target = Target::parse(&args)?;
    let located = hub::locate(named, hub::Need::of_run(args.dry_run))?;
    note_flags_without_effect(&args, named, &located);
    let dir = located.path();
    hold([dir]);
    hold(&args.target_model_dir);
    hold(&args.metadata);
    args.quantizing.hold();
    let source = HfSource::open(dir, &source_options(&args, &target, &located))?;
    for warning in source.warnings() {
        eprintln!("warning: {warning}");
    }
    if crate::output::is_verbose() {
        for tensor in source.left_out() {
            eprintln!("left out: {tensor}");
        }
    }
    match target {
        Target::Stock(_) => write_unquantized(&args, dir, &source),
        Target::Preset(preset) => write_quantized(&args, dir, &source, Some(preset)),
        Target::Chosen => write_quantized(&args, dir, &source, None),
    }
}

/// The classes that can be converted.
fn print_classes(json: bool) -> anyhow::Result<()> {
    if json {
        return crate::output::print_json(&architectures::list_json());
    }
    crate::output::print(|out| out.write_all(architectures::list().as_bytes()))
}

/// A built-in architecture as a file for `--arch-file`.
fn print_architecture(name: &str) -> anyhow::Result<()> {
    let Some(printed) = convert::arch::printed(name) else {
        let names: Vec<&str> = convert::arch::printable().collect();
        bail!(
            "--print-arch: expected an architecture that is data alone: {}, found {name:?}",
            names.join(", ")
        );
    };
    crate::output::print(|out| out.write_all(printed.as_bytes()))
}

/// Flags of the stock converter that change nothing here are named.
fn note_flags_without_effect(args: &Args, named: &Path, located: &hub::Located) {
    if args.remote && located.origin().is_none() {
        eprintln!("note: --remote has no effect: {} is here", named.display());
    }
    for (flag, given) in [
        ("--no-lazy", args.no_lazy),
        ("--use-temp-file", args.use_temp_file),
    ] {
        if given {
            eprintln!("note: {flag} has no effect: weights are streamed within --max-memory");
        }
    }
}

fn source_options(args: &Args, target: &Target, located: &hub::Located) -> HfOptions {
    HfOptions::default()
        .outtype(match target {
            Target::Stock(outtype) => *outtype,
            Target::Preset(_) | Target::Chosen => OutType::Lossless,
        })
        .model_name(args.model_name.clone())
        .metadata(args.metadata.clone())
        .pre_tokenizer(args.pre_tokenizer.clone())
        .vocab_only(args.vocab_only)
        .headers_suffice(args.dry_run)
        .mmproj(args.mmproj)
        .prediction(match (args.mtp, args.no_mtp) {
            (true, _) => Prediction::Alone,
            (_, true) => Prediction::LeftOut,
            _ => Prediction::Included,
        })
        .sentence_modules(args.sentence_transformers_dense_modules)
        .mistral_format(args.mistral_format)
        .arch_file(args.architecture.file())
        .target_model_dir(args.target_model_dir.clone())
        .fuse_qkv(args.fuse_qkv)
        .fuse_gate_up_exps(args.fuse_gate_up_exps)
        .fp8_as_q8(args.fp8_as_q8)
        .no_named_template(args.disable_mistral_community_chat_template)
        .origin(located.origin().cloned())
}

fn pipeline_options(args: &Args) -> PipelineOptions {
    PipelineOptions::default()
        .threads(args.threads)
        .max_memory(args.memory.bytes())
}

fn endian(args: &Args) -> Endian {
    match args.bigendian {
        true => Endian::Big,
        false => Endian::Little,
    }
}

/// The file as the stock converter writes it.
fn write_unquantized(args: &Args, dir: &Path, source: &HfSource) -> anyhow::Result<()> {
    let path = output_path(args, dir, source, source.matrix_type().name())?;
    let mut plan = OutputPlan::unquantized(path, source, Vec::new())?.with_endian(endian(args));
    if args.vocab_only {
        plan = plan.bare()?;
    }
    let plans = cut(plan, &args.shards.converter())?;
    if !args.dry_run {
        let journal = plans.first().and_then(|plan| args.memory.journal(&plan.path));
        let pipeline = pipeline_options(args);
        metered(|show| run_plans(source, &plans, &pipeline, journal.as_deref(), show))?;
    }
    report(args, source, &plans);
    Ok(())
}

/// The file as llama-quantize makes it of the converted one; of types chosen for the model without a preset.
fn write_quantized(args: &Args, dir: &Path, source: &HfSource, preset: Option<Preset>) -> anyhow::Result<()> {
    Quantizing {
        source,
        from: dir,
        output: &output_path(args, dir, source, preset.map_or("chosen", Preset::name))?,
        preset,
        options: QuantizeOptions::new(Preset::Q8_0)
            .allow_requantize(args.allow_requantize)
            .shards(args.shards.gguf_split()),
        args: &args.quantizing,
        memory: &args.memory,
        threads: args.threads,
        endian: Some(endian(args)),
        dry_run: args.dry_run,
        json: args.json,
    }
    .run()
}

/// Path of the output: the file that was named, with its placeholders filled; in a directory, or when none was named,
/// the stock converter's name for it.
fn output_path(args: &Args, dir: &Path, source: &HfSource, encoding: &str) -> anyhow::Result<PathBuf> {
    let named = args.out.as_deref().or(args.outfile.as_deref());
    let named = named.unwrap_or_else(|| convert::hub::default_directory(dir));
    if named.is_dir() {
        return Ok(named.join(source.default_file_name(Some(encoding))));
    }
    fill_template(named, encoding)
}

/// A path with the placeholders of its file name filled.
pub(super) fn fill_template(path: &Path, encoding: &str) -> anyhow::Result<PathBuf> {
    let name = path
        .file_name()
        .with_context(|| format!("{}: no file name", path.display()))?;
    // A name that is no text has no placeholders either.
    let Some(name) = name.to_str() else {
        return Ok(path.to_path_buf());
    };
    let mut filled = name.to_owned();
    for key in ["ftype", "outtype"] {
        filled = filled
            .replace(&format!("{{{key}}}"), &encoding.to_lowercase())
            .replace(&format!("{{{}}}", key.to_uppercase()), &encoding.to_uppercase());
    }
    Ok(path.with_file_name(filled))
}

fn report(args: &Args, source: &HfSource, plans: &[OutputPlan<'_>]) {
    let files = |plan: &OutputPlan<'_>| {
        let tensors: Vec<_> = plan
            .tensors()
            .iter()
            .map(|info| {
                serde_json::json!({
                    "name": info.name,
                    "shape": info.shape,
                    "type": info.ty.name(),
                    "offset": info.offset,
                    "size_bytes": info.size_bytes(),
                })
            })
            .collect();
        serde_json::json!({
            "file": convert::path_json(&plan.path),
            "size_bytes": plan.file_size(),
            "weights": plan.weights(),
            "tensors": tensors,
        })
    };
    if args.json {
        let mut report = serde_json::json!({
            "input": convert::path_json(source.path()),
            "outtype": source.matrix_type().name(),
        });
        match plans {
            [plan] => {
                if let (Some(report), serde_json::Value::Object(file)) = (report.as_object_mut(), files(plan))
                {
                    report.extend(file);
                }
            }
            plans => report["shards"] = plans.iter().map(files).collect(),
        }
        println!("{report:#}");
        return;
    }
    for plan in plans {
        for info in plan.tensors().iter().filter(|_| args.dry_run) {
            println!(
                "{:<40} {:<24} {:>8} {:>14} bytes",
                info.name,
                format!("{:?}", info.shape),
                info.ty.name(),
                info.size_bytes()
            );
        }
        println!("{}: {} bytes", plan.path.display(), plan.file_size());
    }
}

fn outtypes_help() -> String {
    let presets: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
    format!(
        "Output types: {}\nPresets: {}\n\nA preset's tensors equal those of converting without loss (f32, or \
         the 16-bit type that all matrices share) and then quantizing.",
        OutType::NAMES.join(" "),
        presets.join(" ")
    )
}
