//! The demo model in a folder of its own.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The demo model, unpacked for as long as this value lives.
pub(crate) struct Demo {
    folder: tempfile::TempDir,
    /// It goes when the process is interrupted, too.
    _temporary: gguf::Temporary,
}

impl Demo {
    /// Unpacks the model into a temporary folder.
    pub(crate) fn unpack() -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder for the demo model")?;
        let _temporary = gguf::Temporary::note(folder.path());
        let demo = Self { folder, _temporary };
        demo::write_model(&demo.path())?;
        Ok(demo)
    }

    /// The model directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(demo::NAME)
    }
}
