//! A folder of a model directory with weights of its own, such as a tokenizer of sound, which are converted too.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::parts::{Parts, Place};
use super::safetensors::SafetensorsFile;
use super::tensor_file::TensorFile;
use crate::arch::{Architecture, Beside, Hparams};
use crate::{Error, Result};

/// The file of weights in such a folder.
const WEIGHTS: &str = "model.safetensors";

/// The file of an architecture's folder.
pub(super) fn file(dir: &Path, architecture: &Architecture) -> Option<PathBuf> {
    let Beside { folder, .. } = architecture.hooks.beside?;
    Some(dir.join(folder).join(WEIGHTS))
}

/// Puts the tensors of an architecture's folder before the model's own. Returns the names of those that are not wanted.
///
/// # Errors
/// A file that cannot be read, and one that lacks a tensor.
pub(super) fn add_to(
    parts: &mut Parts,
    dir: &Path,
    (architecture, hparams): (&Architecture, &Hparams),
    headers_suffice: bool,
) -> Result<Vec<String>> {
    let (Some(beside), Some(path)) = (architecture.hooks.beside, file(dir, architecture)) else {
        return Ok(Vec::new());
    };
    let file = SafetensorsFile::open(&path, headers_suffice)?;
    // The stock converter loads such a file whole, in the order of its data.
    let mut stored: Vec<(u64, usize)> = (0..).zip(file.entries()).map(|(at, e)| (e.offset, at)).collect();
    stored.sort_unstable();
    let names: Vec<String> = stored
        .iter()
        .map(|&(_, at)| file.entries()[at].name.clone())
        .collect();
    let mut places: HashMap<&str, usize> = file.entries().iter().map(|e| e.name.as_str()).zip(0..).collect();
    let wanted = (beside.order)(hparams, names.clone())?;
    let mut tensors = IndexMap::with_capacity(wanted.len() + parts.tensors.len());
    for name in wanted {
        let Some(entry) = places.remove(name.as_str()) else {
            return Err(Error::input(
                path,
                format!("tensor '{name}': expected it in this file, found none"),
            ));
        };
        let at = Place {
            file: parts.files.len(),
            entry,
        };
        tensors.insert(format!("{}/{name}", beside.folder), at);
    }
    let rest = names.iter().filter(|name| places.contains_key(name.as_str()));
    let rest = rest.map(|name| format!("{}/{name}", beside.folder)).collect();
    drop(places);
    tensors.extend(std::mem::take(&mut parts.tensors));
    parts.tensors = tensors;
    parts.files.push(Arc::new(file));
    Ok(rest)
}
