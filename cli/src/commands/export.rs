//! `quantsmith export`.

use std::path::PathBuf;

use convert::export::{ExportOptions, ExportType, export};
use convert::source::GgufSource;

use crate::inputs::hold;

/// Arguments of `quantsmith export`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file of a Llama, Mistral, Mixtral, Qwen2 or Qwen3 model (mixtures of experts too); of several, the first
    input: PathBuf,

    /// Directory to make
    out_dir: PathBuf,

    /// Type of all matrices [default: their own; f32 for quantized ones]
    #[arg(long, value_name = "TYPE", value_parser = ExportType::NAMES)]
    dtype: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    hold([&args.input]);
    convert::kind::expect_model(&args.input)?;
    let source = GgufSource::open(&args.input)?;
    let options = ExportOptions::default().dtype(args.dtype.as_deref().and_then(ExportType::from_name));
    let exported = export(&source, &args.out_dir, options)?;
    for warning in &exported.warnings {
        eprintln!("warning: {warning}");
    }
    for file in &exported.files {
        println!("{}", args.out_dir.join(file).display());
    }
    Ok(())
}
