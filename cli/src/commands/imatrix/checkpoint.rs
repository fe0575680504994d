//! Checkpoints of `quantsmith imatrix`, and what makes a run the same run.

use std::path::{Path, PathBuf};

use anyhow::bail;
use convert::digest::{self, Kind};
use gguf::{FilePlan, GgufModel};
use imatrix::ImportanceMatrix;

use super::Args;

/// Identity of a run: lines of `WHAT=VALUE`. Of the model and the texts it holds digests of all their bytes. Reading
/// the weights once more costs less than one step of the calibration, and anything less than all of them would take two
/// quants of one model, or two checkpoints of one training, for the same.
pub(super) struct Run(Vec<String>);

impl Run {
    /// The run of these arguments.
    pub(super) fn new(model: &GgufModel, texts: &[(PathBuf, String)], args: &Args) -> anyhow::Result<Self> {
        let mut lines = vec![
            format!("quantsmith={}", env!("CARGO_PKG_VERSION")),
            format!("model={}", of_model(model)?),
        ];
        for (path, text) in texts {
            lines.push(format!(
                "text {}={}",
                path.display(),
                digest::of_bytes(Kind::Sha256, text.as_bytes())
            ));
        }
        lines.extend([
            format!("--ctx-size={}", args.ctx_size),
            format!("--chunks={:?}", args.chunks.most()),
            format!("--from-chunk={}", args.from_chunk),
            format!("--parse-special={}", args.parse_special),
            format!("--process-output={}", args.process_output),
            format!("--rounding={:?}", args.rounding.calibrating()),
        ]);
        Ok(Self(lines))
    }

    /// The lines.
    pub(super) fn lines(&self) -> &[String] {
        &self.0
    }

    /// Saves what this run has collected.
    pub(super) fn save(&self, matrix: &ImportanceMatrix, checkpoint: &Path) -> anyhow::Result<()> {
        Ok(matrix.save_checkpoint(checkpoint, &self.0)?)
    }

    /// Reads a checkpoint of this very run.
    pub(super) fn load(&self, checkpoint: &Path) -> anyhow::Result<ImportanceMatrix> {
        let (matrix, saved) = ImportanceMatrix::load_checkpoint(checkpoint)?;
        let name = checkpoint.display();
        if saved.is_empty() {
            bail!("{name}: not a checkpoint of a run: it does not say of which model and texts it is");
        }
        let differs = |of: &[String], from: &[String]| of.iter().find(|line| !from.contains(line)).cloned();
        let (then, now) = (differs(&saved, &self.0), differs(&self.0, &saved));
        if then.is_some() || now.is_some() {
            let shown = |line: Option<String>| line.unwrap_or_else(|| "nothing".to_owned());
            bail!(
                "{name}: the checkpoint is of another run: it has {}, this run {}; the same model, texts and \
                 options are needed to resume it, or delete it to begin anew",
                shown(then),
                shown(now)
            );
        }
        Ok(matrix)
    }
}

/// A digest of everything in a model's files that a forward pass can see.
fn of_model(model: &GgufModel) -> anyhow::Result<String> {
    let mut all = Vec::new();
    for file in model.files() {
        let plan = FilePlan::with_metadata(file, file.metadata().clone())?;
        all.extend(plan.header_bytes()?);
    }
    let mut text = digest::of_bytes(Kind::Sha256, &all);
    digest::digests(model, &[Kind::Xxh64], false, &mut |found| {
        text.push('-');
        text += &found.text;
        Ok(())
    })?;
    Ok(text)
}

/// Path of an output's checkpoint.
pub(super) fn path_of(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".checkpoint");
    name.into()
}
