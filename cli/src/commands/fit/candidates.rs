//! Files that may fit, from headers.

use std::path::{Path, PathBuf};

use crate::hub::Located;
use anyhow::{Context as _, bail};
use convert::kind::Kind;
use convert::quantize::{QuantizeOptions, plan};
use convert::source::Source as _;
use convert::source::hf::{HfOptions, HfSource, OutType};
use convert::table;
use gguf::split::{COUNT_KEY, NUMBER_KEY};
use gguf::{GgufModel, OpenOptions};
use reference::memory::{Budget, Fit, Memory, Settings, estimate};

/// A file, there or planned.
pub(super) struct Candidate {
    /// The file's name, or the preset's.
    pub(super) name: String,
    /// Where it is, if it is there.
    pub(super) path: Option<PathBuf>,
    pub(super) file_size: u64,
    pub(super) memory: Memory,
    pub(super) fit: Option<Fit>,
}

/// Everything that a path of the command line stands for.
pub(super) fn of(located: &Located, settings: &Settings, budget: &Budget) -> anyhow::Result<Vec<Candidate>> {
    let mut all = of_path(located.path(), settings, budget)?;
    if located.origin().is_some() {
        // Of files of the hub, there are headers here, and only for now.
        all.iter_mut().for_each(|c| c.path = None);
    }
    Ok(all)
}

fn of_path(named: &Path, settings: &Settings, budget: &Budget) -> anyhow::Result<Vec<Candidate>> {
    if !named.is_dir() {
        return Ok(vec![file(named, settings, budget)?]);
    }
    let files = models_in(named)?;
    if !files.is_empty() {
        let of_file = |path: &PathBuf| file(path, settings, budget);
        return files.iter().map(of_file).collect();
    }
    presets(named, settings, budget)
}

/// Sizes need the headers alone.
fn headers() -> OpenOptions {
    OpenOptions::default()
        .backing(gguf::Backing::File)
        .allow_missing_data(true)
}

/// A GGUF file, with a first shard all the others.
fn file(path: &Path, settings: &Settings, budget: &Budget) -> anyhow::Result<Candidate> {
    let model = GgufModel::open_with(path, headers())?;
    if let Some(kind) = Kind::of(model.metadata(), model.len()) {
        return Err(kind.instead_of_model(path).into());
    }
    let tensors = model.tensors().map(|t| t.info);
    let memory = estimate(model.metadata(), tensors, settings).with_context(|| path.display().to_string())?;
    Ok(Candidate {
        name: path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned(),
        path: Some(path.to_path_buf()),
        file_size: model
            .files()
            .iter()
            .map(gguf::GgufFile::length)
            .fold(0, u64::saturating_add),
        fit: memory.fit(budget),
        memory,
    })
}

/// The models among the GGUF files of a directory: shards but the first ones belong to those, and encoders, matrices
/// and adapters are none.
fn models_in(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    for entry in entries {
        let path = entry.with_context(|| dir.display().to_string())?.path();
        if path.extension().is_none_or(|e| e != "gguf") || !path.is_file() {
            continue;
        }
        let header = GgufModel::open_single(&path, headers())?;
        let keys = header.metadata();
        let later = keys.get_u64(COUNT_KEY).is_some_and(|n| n > 1) && keys.get_u64(NUMBER_KEY) != Some(0);
        if !later && Kind::of(keys, header.len()).is_none() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The presets of a published table, planned for a model directory.
fn presets(dir: &Path, settings: &Settings, budget: &Budget) -> anyhow::Result<Vec<Candidate>> {
    if !["config.json", "params.json"]
        .iter()
        .any(|name| dir.join(name).is_file())
    {
        bail!(
            "{}: neither GGUF files nor a config.json: expected a GGUF file, a directory of them, or a model directory",
            dir.display()
        );
    }
    let options = HfOptions::default()
        .outtype(OutType::Lossless)
        .headers_suffice(true);
    let source = HfSource::open(dir, &options)?;
    for warning in source.warnings() {
        eprintln!("warning: {warning}");
    }
    let mut all: Vec<Candidate> = Vec::new();
    for entry in table::published() {
        // Q3_K, Q4_K and Q5_K are other names of rows that are there.
        if convert::recipe::PRESETS
            .iter()
            .any(|p| p.alias == Some(entry.name.as_ref()))
        {
            continue;
        }
        let planned = plan(
            &source,
            &dir.join(entry.name.as_ref()),
            &QuantizeOptions::new(entry.preset),
            None,
        )?;
        let tensors = planned.outputs.iter().flat_map(|o| o.tensors());
        let memory = estimate(source.metadata(), tensors, settings)
            .with_context(|| format!("{}: {}", dir.display(), entry.name))?;
        all.push(Candidate {
            name: entry.name.into_owned(),
            path: None,
            file_size: planned.file_size(),
            fit: memory.fit(budget),
            memory,
        });
    }
    Ok(all)
}
