//! The demo model, carried inside the binary so that the main job runs without a network.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The name under which the demo model is unpacked; the converter derives `general.name` from it.
const NAME: &str = "Quantsmith-Demo";

/// The files of the model directory.
const FILES: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../../assets/demo/config.json")),
    (
        "generation_config.json",
        include_bytes!("../../assets/demo/generation_config.json"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../../assets/demo/tokenizer.json"),
    ),
    (
        "tokenizer_config.json",
        include_bytes!("../../assets/demo/tokenizer_config.json"),
    ),
    ("README.md", include_bytes!("../../assets/demo/README.md")),
    (
        "model.safetensors",
        include_bytes!("../../assets/demo/model.safetensors"),
    ),
];

/// Held-out English text in the public domain, never trained on by the demo model.
pub(crate) const EVALUATION_TEXT: &str = include_str!("../../assets/demo/eval.txt");

/// English text in the public domain that calibrates the importance matrix where no other is given. Disjoint
/// from the evaluation text.
pub(crate) const CALIBRATION_TEXT: &str = include_str!("../../assets/demo/calibration.txt");

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
        let model = folder.path().join(NAME);
        std::fs::create_dir(&model)?;
        for (name, bytes) in FILES {
            let path = model.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("{}", path.display()))?;
        }
        Ok(Self { folder, _temporary })
    }

    /// The model directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(NAME)
    }
}
