//! `quantsmith quantize`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use convert::importance::{Importance, MissingImportance, Selection};
use convert::pipeline::{DEFAULT_MAX_MEMORY, PipelineOptions};
use convert::quantize::{Quantization, QuantizeOptions, default_output, plan, run as execute, run_resumable};
use convert::recipe::{KvOverride, PRESETS, Preset, RecipeOptions, TensorTypeRule};
use convert::source::{GgufSource, Source};
use gguf::{TYPES, TensorType, Value};

use super::shards::ShardArgs;
use crate::inputs::hold;
use crate::interrupt::can_be_continued;
use crate::optimization::{self, OptimizeArgs};
use crate::progress::Meter;

/// Arguments of `quantsmith quantize`.
#[derive(clap::Args)]
#[command(after_help = presets_help())]
pub(crate) struct Args {
    /// IN.gguf [OUT.gguf] PRESET [THREADS]; without OUT.gguf, ggml-model-PRESET.gguf beside the input
    #[arg(required = true, num_args = 2..=4, value_name = "IN.gguf [OUT.gguf] PRESET [THREADS]")]
    operands: Vec<OsString>,

    #[command(flatten)]
    types: TypeArgs,

    #[command(flatten)]
    importance: ImportanceArgs,

    #[command(flatten)]
    optimize: OptimizeArgs,

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
    #[arg(long, value_name = "KEY=TYPE:VALUE", value_parser = parse_kv_override)]
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

/// Options that decide each tensor's type.
#[derive(clap::Args)]
pub(crate) struct TypeArgs {
    /// Give every tensor the preset's base type
    #[arg(long)]
    pure: bool,

    /// Leave output.weight as it is
    #[arg(long)]
    leave_output_tensor: bool,

    /// Type of output.weight
    #[arg(long, value_name = "TYPE", value_parser = type_parser(), ignore_case = true)]
    output_tensor_type: Option<String>,

    /// Type of the token embeddings
    #[arg(long, value_name = "TYPE", value_parser = type_parser(), ignore_case = true)]
    token_embedding_type: Option<String>,

    /// Type of the tensors whose names match a regular expression; the first match decides (repeatable)
    #[arg(long, value_name = "REGEX=TYPE")]
    tensor_type: Vec<String>,

    /// File of REGEX=TYPE rules, separated by blanks or newlines (repeatable)
    #[arg(long, value_name = "FILE")]
    tensor_type_file: Vec<PathBuf>,

    /// Refuse to replace a type that does not fit a tensor's rows
    #[arg(long)]
    no_fallback: bool,
}

/// Options of the importance matrix.
#[derive(clap::Args)]
pub(crate) struct ImportanceArgs {
    /// Importance matrix, of either of llama-imatrix's formats
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,

    /// Use importance only for tensors with this in their names (repeatable)
    #[arg(
        long,
        value_name = "TEXT",
        requires = "imatrix",
        conflicts_with = "exclude_weights"
    )]
    include_weights: Vec<String>,

    /// Do not use importance for tensors with this in their names (repeatable)
    #[arg(long, value_name = "TEXT", requires = "imatrix")]
    exclude_weights: Vec<String>,

    /// Treatment of tensors whose type needs importance that the matrix does not have
    #[arg(long, value_enum, default_value_t = Missing::Error)]
    imatrix_missing: Missing,

    /// Draw experts that saw few tokens towards the mean over all experts, which counts as this many tokens
    #[arg(long, value_name = "TOKENS")]
    imatrix_expert_prior: Option<u32>,
}

/// The values of --imatrix-missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Missing {
    /// Refuse, with their names, before anything is encoded
    Error,
    /// Let every column of them count the same
    Uniform,
}

/// Options for memory, threads and continued runs.
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
    /// Memory for buffers, as 256M, 2G or bytes [default: 1G]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_memory: Option<u64>,

    /// The same in MiB, as llama-quantize names it
    #[arg(long, value_name = "MIB", conflicts_with = "max_memory")]
    max_buffer_size: Option<std::num::NonZeroU32>,
}

impl TypeArgs {
    /// Whether any of these arguments is there.
    pub(crate) fn given(&self) -> bool {
        self.pure
            || self.leave_output_tensor
            || self.no_fallback
            || self.output_tensor_type.is_some()
            || self.token_embedding_type.is_some()
            || !self.tensor_type.is_empty()
            || !self.tensor_type_file.is_empty()
    }

    /// The files of rules.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.tensor_type_file
    }

    /// The recipe of a preset under these arguments.
    pub(crate) fn recipe(&self, preset: Preset) -> anyhow::Result<RecipeOptions> {
        let ty = |name: &Option<String>| name.as_deref().and_then(TensorType::from_name);
        let mut tensor_types = Vec::new();
        for rule in &self.tensor_type {
            tensor_types.push(TensorTypeRule::parse(rule)?);
        }
        for path in &self.tensor_type_file {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            for rule in text.split_ascii_whitespace() {
                let rule = TensorTypeRule::parse(rule);
                tensor_types.push(rule.with_context(|| path.display().to_string())?);
            }
        }
        Ok(RecipeOptions {
            pure: self.pure,
            leave_output_tensor: self.leave_output_tensor,
            output_tensor_type: ty(&self.output_tensor_type),
            token_embedding_type: ty(&self.token_embedding_type),
            tensor_types,
            no_fallback: self.no_fallback,
            ..RecipeOptions::new(preset)
        })
    }
}

impl ImportanceArgs {
    /// The file, where one is named.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.imatrix.as_deref()
    }

    /// Treatment of tensors that the matrix lacks.
    pub(crate) fn missing(&self) -> MissingImportance {
        match self.imatrix_missing {
            Missing::Error => MissingImportance::Error,
            Missing::Uniform => MissingImportance::Uniform,
        }
    }

    /// Whether an importance matrix is named.
    pub(crate) fn given(&self) -> bool {
        self.imatrix.is_some()
    }

    /// The importance these arguments name.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Importance>> {
        self.imatrix
            .as_deref()
            .map_or(Ok(None), |path| self.load_from(path))
    }

    /// The importance in `path`, limited as these arguments say.
    pub(crate) fn load_from(&self, path: &Path) -> anyhow::Result<Option<Importance>> {
        let selection = if !self.include_weights.is_empty() {
            Selection::Include(self.include_weights.clone())
        } else if !self.exclude_weights.is_empty() {
            Selection::Exclude(self.exclude_weights.clone())
        } else {
            Selection::All
        };
        let importance = Importance::load_with_prior(path, &selection, self.imatrix_expert_prior)?;
        for gap in importance.iter().flat_map(|i| i.gaps()) {
            eprintln!("warning: importance of {gap}");
        }
        Ok(importance)
    }
}

impl BufferArgs {
    /// The bound in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let mib = self.max_buffer_size.map(|n| u64::from(n.get()) << 20);
        self.max_memory.or(mib).unwrap_or(DEFAULT_MAX_MEMORY)
    }
}

impl MemoryArgs {
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
            return None;
        }
        let mut name = OsString::from(".");
        name.push(output.file_name()?);
        name.push(".journal");
        can_be_continued("the same command, with --resume, continues".to_owned());
        Some(output.with_file_name(name))
    }
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Operands {
        input,
        output,
        preset,
        threads,
    } = Operands::parse(&args.operands, args.keep_split).unwrap_or_else(|e| {
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{e:#}\n")).exit()
    });
    hold([&input]);
    hold(args.types.files());
    hold(args.importance.path());
    let importance = args.importance.load()?;
    let source = if args.dry_run {
        GgufSource::open_headers(&input)?
    } else {
        GgufSource::open(&input)?
    };
    if args.optimize.learns() && !args.prune_layers.is_empty() {
        bail!("--optimize layer runs the whole model: prune layers first, then optimize what is left");
    }
    let better = args
        .optimize
        .prepare(source.metadata(), &input, None, args.memory.resume())?;
    let options = QuantizeOptions {
        recipe: args.types.recipe(preset)?,
        allow_incomplete: args.allow_incomplete,
        allow_requantize: args.allow_requantize,
        prune_layers: args.prune_layers,
        keep_split: args.keep_split,
        kv_overrides: args.override_kv,
        force_overrides: args.force,
        missing_importance: args.importance.missing(),
        shards: args.shards.gguf_split(),
        record: better.record.clone(),
    };
    let mut plan = plan(&source, &output, &options, importance.as_ref())?;
    report_problems(&plan, args.dry_run);
    let mut learned = None;
    if !args.dry_run {
        let pipeline = PipelineOptions {
            threads,
            max_memory: args.memory.bytes(),
        };
        let base = || optimization::base_model(&source, &output, threads);
        learned = better.apply(&source, &mut plan, base, threads, args.memory.bytes())?;
        let meter = Meter::new();
        let done = match args.memory.journal(&output) {
            Some(journal) => run_resumable(&source, &plan, &pipeline, &journal, &|p| meter.show(p)),
            None => execute(&source, &plan, &pipeline, &|p| meter.show(p)),
        };
        meter.finish();
        done?;
    }
    if args.json {
        let mut report = as_json(&source, &plan);
        if let Some(learned) = &learned {
            report["optimize"] = optimization::as_json(learned);
        }
        println!("{report:#}");
    } else {
        print_report(&source, &plan, args.dry_run);
    }
    Ok(())
}

/// The operands, told apart as llama-quantize does: the second is a preset, or else the output.
struct Operands {
    input: PathBuf,
    output: PathBuf,
    preset: Preset,
    threads: usize,
}

impl Operands {
    fn parse(operands: &[OsString], keep_split: bool) -> anyhow::Result<Self> {
        let preset_of = |name: &OsStr| name.to_str().and_then(Preset::parse);
        let unknown = |name: &OsStr| format!("{name:?} is no preset (see --help for the list)");
        let (input, rest) = operands.split_first().context("the input is missing")?;
        let input = PathBuf::from(input);
        let (output, preset, rest) = match rest {
            [first, rest @ ..] if preset_of(first).is_some() => (None, first, rest),
            [output, preset, rest @ ..] => (Some(output), preset, rest),
            [only] => bail!(unknown(only)),
            [] => bail!("the preset is missing"),
        };
        let preset = preset_of(preset).with_context(|| unknown(preset))?;
        let threads = match rest {
            [] => 0,
            [threads] => threads
                .to_str()
                .and_then(|t| t.parse().ok())
                .with_context(|| format!("{threads:?} is no number of threads"))?,
            [_, extra, ..] => bail!("unexpected operand {extra:?}"),
        };
        let output = match output {
            None => default_output(&input, preset, keep_split),
            // What llama-quantize takes off is the length of the extension.
            Some(path) if keep_split && path.to_string_lossy().contains(".gguf") => {
                let cut = path.to_str().and_then(|p| p.get(..p.len() - ".gguf".len()));
                cut.map_or_else(|| Path::new(path).with_extension(""), PathBuf::from)
            }
            Some(path) => path.into(),
        };
        Ok(Self {
            input,
            output,
            preset,
            threads,
        })
    }
}

pub(crate) fn report_problems(plan: &Quantization<'_>, dry_run: bool) {
    for warning in &plan.warnings {
        eprintln!("warning: {warning}");
    }
    for change in &plan.overrides {
        eprintln!(
            "override: {}: {} instead of {} ({})",
            change.tensor, change.got, change.wanted, change.reason
        );
    }
    for change in &plan.substituted {
        eprintln!(
            "substituted: {}: {} instead of {} ({})",
            change.tensor, change.got, change.wanted, change.reason
        );
    }
    for lacking in &plan.uniform_importance {
        eprintln!(
            "warning: the importance matrix has nothing for {} ({}): every column counts the same",
            lacking.tensor, lacking.ty
        );
    }
    for tensor in &plan.without_importance {
        eprintln!("warning: the importance matrix has nothing for {tensor}");
    }
    if dry_run && let Err(e) = plan.check() {
        eprintln!("warning: this cannot be executed: {e}");
    }
}

pub(crate) fn print_report(source: &dyn Source, plan: &Quantization<'_>, dry_run: bool) {
    for output in plan.outputs.iter().filter(|_| dry_run) {
        for (info, planned) in output.tensors().iter().zip(output.contents()) {
            let from = source.tensors()[planned.source].ty;
            println!(
                "{:<40} {:<24} {:>8} -> {:<8} {:>14} bytes",
                info.name,
                format!("{:?}", info.shape),
                from,
                info.ty,
                info.size_bytes()
            );
        }
    }
    for output in &plan.outputs {
        println!("{}: {} bytes", output.path.display(), output.file_size());
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{}: {:.2} MiB in tensors, from {:.2} MiB; {:.2} bits per weight",
        plan.preset,
        mib(plan.tensor_bytes()),
        mib(plan.source_bytes),
        plan.bits_per_weight()
    );
    if !plan.substituted.is_empty() {
        let weights: u64 = plan.substituted.iter().map(|c| c.weights).sum();
        println!(
            "{} tensors with {:.1} % of the weights were substituted",
            plan.substituted.len(),
            weights as f64 * 100.0 / plan.weights() as f64
        );
    }
}

pub(crate) fn as_json(source: &dyn Source, plan: &Quantization<'_>) -> serde_json::Value {
    let lacking = |list: &[convert::quantize::ListedTensor]| -> Vec<_> {
        list.iter()
            .map(|t| serde_json::json!({"tensor": t.tensor, "type": t.ty.name()}))
            .collect()
    };
    let outputs: Vec<_> = plan
        .outputs
        .iter()
        .map(|output| {
            let tensors: Vec<_> = output
                .tensors()
                .iter()
                .zip(output.contents())
                .map(|(info, planned)| {
                    serde_json::json!({
                        "name": info.name,
                        "shape": info.shape,
                        "from": source.tensors()[planned.source].ty.name(),
                        "type": info.ty.name(),
                        "offset": info.offset,
                        "size_bytes": info.size_bytes(),
                    })
                })
                .collect();
            serde_json::json!({
                "file": convert::path_json(&output.path),
                "size_bytes": output.file_size(),
                "tensors": tensors,
            })
        })
        .collect();
    serde_json::json!({
        "input": convert::path_json(source.path()),
        "preset": plan.preset.name(),
        "size_bytes": plan.file_size(),
        "tensor_bytes": plan.tensor_bytes(),
        "source_tensor_bytes": plan.source_bytes,
        "weights": plan.weights(),
        "bits_per_weight": plan.bits_per_weight(),
        "overrides": plan.overrides,
        "substituted": plan.substituted,
        "missing_importance": lacking(&plan.missing_importance),
        "uniform_importance": lacking(&plan.uniform_importance),
        "without_importance": plan.without_importance,
        "requantized": lacking(&plan.requantized),
        "warnings": plan.warnings,
        "outputs": outputs,
    })
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

/// The types that a tensor can be given.
fn type_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(TYPES.iter().filter(|t| quants::can_encode(t.ty)).map(|t| t.name))
}

/// Reads `KEY=TYPE:VALUE` within llama.cpp's limits.
fn parse_kv_override(text: &str) -> Result<KvOverride, String> {
    const MAX_KEY_BYTES: usize = 127;
    const MAX_TEXT_BYTES: usize = 127;
    let (key, typed) = text.split_once('=').ok_or("expected KEY=TYPE:VALUE")?;
    let (ty, value) = typed.split_once(':').ok_or("expected KEY=TYPE:VALUE")?;
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(format!("the key must have 1 to {MAX_KEY_BYTES} bytes"));
    }
    let value = match ty {
        "int" => Value::I64(value.parse().map_err(|e| format!("{value:?}: {e}"))?),
        "float" => Value::F64(value.parse().map_err(|e| format!("{value:?}: {e}"))?),
        "bool" => Value::Bool(
            value
                .parse()
                .map_err(|_| format!("{value:?} is neither true nor false"))?,
        ),
        "str" if value.len() > MAX_TEXT_BYTES => {
            return Err(format!("a string may have at most {MAX_TEXT_BYTES} bytes"));
        }
        "str" => Value::from(value),
        _ => return Err(format!("{ty:?} is none of int, float, bool, str")),
    };
    Ok(KvOverride {
        key: key.to_owned(),
        value,
    })
}

/// Reads a size in bytes, with an optional K, M, G or T for powers of 1024 (also as KiB, KB …).
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit
        .trim()
        .to_ascii_uppercase()
        .trim_end_matches('B')
        .trim_end_matches('I')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(format!("{unit:?} is no unit of size")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no size"))?;
    number
        .checked_mul(1 << shift)
        .filter(|&n| n > 0)
        .ok_or_else(|| format!("{text:?} is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operands(list: &[&str], keep_split: bool) -> anyhow::Result<Operands> {
        let list: Vec<OsString> = list.iter().map(OsString::from).collect();
        Operands::parse(&list, keep_split)
    }

    #[test]
    fn operands_are_those_of_llama_quantize() {
        let o = operands(&["dir/in.gguf", "q4_k", "4"], false).unwrap();
        assert_eq!(o.output, Path::new("dir/ggml-model-Q4_K_M.gguf"));
        assert_eq!((o.preset, o.threads), (Preset::Q4_K_M, 4));
        let o = operands(&["in.gguf", "out.gguf", "15"], false).unwrap();
        assert_eq!(
            (o.output.as_path(), o.preset),
            (Path::new("out.gguf"), Preset::Q4_K_M)
        );
        let o = operands(&["in.gguf", "out.gguf", "Q8_0"], true).unwrap();
        assert_eq!(o.output, Path::new("out"));
        for wrong in [&["in", "out"][..], &["in", "out", "Q9"], &["in", "Q8_0", "x"]] {
            assert!(operands(wrong, false).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("256M"), Ok(256 << 20));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert_eq!(parse_size("4096"), Ok(4096));
        for wrong in ["", "M", "0", "-1", "1X", "99999999999T"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn overrides() {
        let o = parse_kv_override("a.b=int:-3").unwrap();
        assert_eq!((o.key.as_str(), o.value), ("a.b", Value::I64(-3)));
        let text = parse_kv_override("a=str:x:y=z").unwrap();
        assert_eq!(text.value, Value::from("x:y=z"));
        for wrong in ["a", "a=1", "a=int:x", "a=bool:1", "=int:1"] {
            assert!(parse_kv_override(wrong).is_err(), "{wrong:?}");
        }
    }
}
