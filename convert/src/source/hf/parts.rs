//! Which safetensors files make up a model directory, and that none is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};
use std::sync::Arc;

use indexmap::IndexMap;

use super::safetensors::SafetensorsFile;
use super::tensor_file::{Entry, TensorFile};
use crate::{Error, Result};

const INDEX_NAME: &str = "model.safetensors.index.json";

/// Most names listed in one message.
const MAX_LISTED: usize = 5;

/// The files of a model and, by name, where each tensor is: file by file in order of file name, in each
/// by tensor name. This is the order in which the stock converter visits them.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) files: Vec<Arc<dyn TensorFile>>,
    /// Tensor name -> (file, entry).
    pub(crate) tensors: IndexMap<String, (usize, usize)>,
}

impl Parts {
    /// No files at all.
    pub(crate) fn none() -> Self {
        Self {
            files: Vec::new(),
            tensors: IndexMap::new(),
        }
    }

    /// Finds and opens the files of `dir`. With `headers_suffice` their data may be missing.
    ///
    /// # Errors
    /// No safetensors file, a file that the index names and that is missing, tensors that the index and
    /// the files do not agree on, a tensor in two files, or a malformed file.
    pub(crate) fn open(dir: &Path, headers_suffice: bool) -> Result<Self> {
        let index_path = dir.join(INDEX_NAME);
        let index = index_path
            .is_file()
            .then(|| read_index(&index_path))
            .transpose()?;
        let names = match &index {
            Some(index) => index
                .values()
                .cloned()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            None => part_names(dir)?,
        };
        if let Some(index) = &index {
            report_missing_files(dir, &names, index)?;
        }

        let mut files: Vec<Arc<dyn TensorFile>> = Vec::new();
        let mut tensors: IndexMap<String, (usize, usize)> = IndexMap::new();
        for name in &names {
            let file = SafetensorsFile::open(&dir.join(name), headers_suffice)?;
            for (at, entry) in file.entries().iter().enumerate() {
                if let Some((other, _)) = tensors.insert(entry.name.clone(), (files.len(), at)) {
                    return Err(Error::Input {
                        path: file.path().to_path_buf(),
                        message: format!(
                            "tensor {} is also in {}: the directory holds more than one copy of the model",
                            entry.name, names[other]
                        ),
                    });
                }
            }
            files.push(Arc::new(file));
        }
        if let Some(index) = &index {
            compare_with_index(&index_path, index, &tensors)?;
        }
        Ok(Self { files, tensors })
    }

    pub(crate) fn entry(&self, at: (usize, usize)) -> &Entry {
        &self.files[at.0].entries()[at.1]
    }
}

fn part_names(dir: &Path) -> Result<Vec<String>> {
    let io_error = |source| Error::Io {
        path: dir.to_path_buf(),
        source,
    };
    let mut names = Vec::new();
    let mut pytorch = false;
    for item in std::fs::read_dir(dir).map_err(io_error)? {
        let name = item.map_err(io_error)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("model") && name.ends_with(".safetensors") {
            names.push(name.to_owned());
        }
        pytorch |= name.starts_with("pytorch_model") && name.ends_with(".bin");
    }
    names.sort();
    if names.is_empty() {
        let hint = if pytorch {
            "; it has pytorch_model*.bin, which are pickles: save the model as safetensors first"
        } else {
            ""
        };
        return Err(Error::Input {
            path: dir.to_path_buf(),
            message: format!("no model*.safetensors file in this directory{hint}"),
        });
    }
    Ok(names)
}

/// The `weight_map` of an index: tensor name -> file name.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    let input = |message: String| Error::Input {
        path: path.to_path_buf(),
        message,
    };
    let value = crate::json::read(path)?;
    let map = value
        .get("weight_map")
        .and_then(|m| m.as_object())
        .ok_or_else(|| input("no object \"weight_map\" in the index".to_owned()))?;
    let mut index = BTreeMap::new();
    for (tensor, file) in map {
        let file = file
            .as_str()
            .ok_or_else(|| input(format!("weight_map: {tensor}: not a file name")))?;
        let mut components = Path::new(file).components();
        // An index must not reach out of its directory.
        if !matches!(
            (components.next(), components.next()),
            (Some(Component::Normal(_)), None)
        ) {
            return Err(input(format!(
                "weight_map: {tensor}: {file:?} is not a file name in this directory"
            )));
        }
        index.insert(tensor.clone(), file.to_owned());
    }
    Ok(index)
}

fn report_missing_files(dir: &Path, names: &[String], index: &BTreeMap<String, String>) -> Result<()> {
    let missing: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|n| !dir.join(n).is_file())
        .collect();
    let Some(&first) = missing.first() else {
        return Ok(());
    };
    let tensors = index.values().filter(|f| missing.contains(&f.as_str())).count();
    Err(Error::Input {
        path: dir.join(first),
        message: format!(
            "missing: {INDEX_NAME} names {} files, of which {} {} not there ({}), with {tensors} tensors",
            names.len(),
            missing.len(),
            if missing.len() == 1 { "is" } else { "are" },
            listed(missing.iter().copied()),
        ),
    })
}

fn compare_with_index(
    path: &Path,
    index: &BTreeMap<String, String>,
    tensors: &IndexMap<String, (usize, usize)>,
) -> Result<()> {
    let missing: Vec<&str> = index
        .keys()
        .map(String::as_str)
        .filter(|n| !tensors.contains_key(*n))
        .collect();
    let extra: Vec<&str> = tensors
        .keys()
        .map(String::as_str)
        .filter(|n| !index.contains_key(*n))
        .collect();
    if missing.is_empty() && extra.is_empty() {
        return Ok(());
    }
    let mut message = "the index and the files it names disagree:".to_owned();
    if !missing.is_empty() {
        message += &format!(
            " {} tensors are in no file ({});",
            missing.len(),
            listed(missing.into_iter())
        );
    }
    if !extra.is_empty() {
        message += &format!(
            " {} tensors are not in the index ({});",
            extra.len(),
            listed(extra.into_iter())
        );
    }
    message.pop();
    Err(Error::Input {
        path: path.to_path_buf(),
        message,
    })
}

fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(MAX_LISTED);
    let mut text = names.take(MAX_LISTED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(", and {more} more");
    }
    text
}
