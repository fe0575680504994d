//! The unquantized model as a GGUF file, for commands that run it.

use std::path::{Path, PathBuf};

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType};

use crate::progress::metered;

/// Converts a model directory to `file` without loss.
pub(crate) fn write(directory: &Path, file: &Path, arch_file: Option<PathBuf>) -> anyhow::Result<()> {
    let options = HfOptions::default()
        .outtype(OutType::Lossless)
        .arch_file(arch_file);
    let source = HfSource::open(directory, &options)?;
    for warning in source.warnings() {
        eprintln!("warning: {warning}");
    }
    write_source(&source, file, &PipelineOptions::default())
}

/// Writes a source to `file` in the types that it has.
pub(crate) fn write_source(
    source: &dyn Source,
    file: &Path,
    options: &PipelineOptions,
) -> anyhow::Result<()> {
    let plan = OutputPlan::unquantized(file.to_path_buf(), source, Vec::new())?;
    Ok(metered(|show| execute(source, &[plan], options, show))?)
}
