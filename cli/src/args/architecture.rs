//! The architecture of a model directory.

use std::path::PathBuf;

use crate::inputs::hold;

/// Options for model directories of an architecture that is not built in.
#[derive(clap::Args)]
pub(crate) struct ArchitectureArgs {
    /// Description of the architecture, for a model directory whose class is not built in (docs/arch-file.md); convert
    /// --print-arch shows some of the built-in ones in this form
    #[arg(long, value_name = "FILE.toml")]
    arch_file: Option<PathBuf>,
}

impl ArchitectureArgs {
    /// The file, kept from being replaced.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        hold(&self.arch_file);
        self.arch_file.clone()
    }
}
