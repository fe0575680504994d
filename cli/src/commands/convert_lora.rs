//! `quantsmith convert-lora`.

use std::path::PathBuf;

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::hf::{AdapterOptions, AdapterSource, OutType};
use gguf::Endian;

use super::convert::fill_template;
use crate::inputs::hold;
use crate::progress::metered;

/// The types that the stock converter offers for adapters.
const OUTTYPES: [&str; 5] = ["f32", "f16", "bf16", "q8_0", "auto"];

/// Arguments of `quantsmith convert-lora`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory with adapter_config.json and adapter_model.safetensors or adapter_model.bin
    lora_path: PathBuf,

    /// Directory with the base model's config.json [default: what the adapter names, if it is here]
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,

    /// File to write, or directory to write it into; {ftype} in it becomes the output type [default: a name
    /// made of the adapter's, in LORA_PATH]
    #[arg(long, value_name = "FILE")]
    outfile: Option<PathBuf>,

    /// Type of the matrices
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = OUTTYPES)]
    outtype: String,

    /// The adapter's name, instead of what its directory and card suggest
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,

    /// Write numbers with the highest byte first, for big-endian machines
    #[arg(long)]
    bigendian: bool,

    /// Show what would be written
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub(crate) fn run(mut args: Args) -> anyhow::Result<()> {
    let adapter = crate::hub::locate(&args.lora_path, crate::hub::Need::Whole)?;
    args.lora_path = adapter.path().to_path_buf();
    // Of the base model, its configuration and names are read.
    let base = args
        .base
        .as_ref()
        .map(|base| crate::hub::locate(base, crate::hub::Need::Headers));
    let base = base.transpose()?;
    args.base = base.as_ref().map(|base| base.path().to_path_buf());
    hold(std::iter::once(&args.lora_path).chain(&args.base));
    let source = AdapterSource::open(
        &args.lora_path,
        &AdapterOptions::default()
            .outtype(OutType::from_name(&args.outtype).unwrap_or_default())
            .base(args.base)
            .model_name(args.model_name),
    )?;
    for warning in source.warnings() {
        eprintln!("warning: {warning}");
    }
    let named = args
        .outfile
        .unwrap_or_else(|| convert::hub::default_directory(&args.lora_path).to_owned());
    let path = if named.is_dir() {
        named.join(source.default_file_name())
    } else {
        fill_template(&named, source.matrix_type().name())?
    };
    let endian = if args.bigendian {
        Endian::Big
    } else {
        Endian::Little
    };
    let plan = OutputPlan::unquantized(path, &source, Vec::new())?.with_endian(endian);
    if args.dry_run {
        for info in plan.tensors() {
            println!(
                "{:<48} {:<24} {:>8} {:>14} bytes",
                info.name,
                format!("{:?}", info.shape),
                info.ty.name(),
                info.size_bytes()
            );
        }
    } else {
        let plans = std::slice::from_ref(&plan);
        metered(|show| execute(&source, plans, &PipelineOptions::default(), show))?;
    }
    println!("{}: {} bytes", plan.path.display(), plan.file_size());
    Ok(())
}
