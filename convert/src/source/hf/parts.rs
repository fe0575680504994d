//! Files that make up a model directory, and the check that none is missing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Component, Path};
use std::sync::Arc;

use indexmap::IndexMap;

use super::pytorch::PytorchFile;
use super::safetensors::SafetensorsFile;
use super::tensor_file::{Entry, TensorFile};
use crate::listed::listed;
use crate::{Error, Result};

/// A format of weight files: how their names begin and end, and the name of an index of several.
struct Format {
    names: &'static [(&'static str, &'static str)],
    index: &'static str,
    open: fn(&Path, bool) -> Result<Arc<dyn TensorFile>>,
}

/// The formats, the preferred one first.
static FORMATS: [Format; 2] = [
    Format {
        names: &[("model", ".safetensors")],
        index: "model.safetensors.index.json",
        open: |path, headers_suffice| Ok(Arc::new(SafetensorsFile::open(path, headers_suffice)?)),
    },
    Format {
        names: &[
            ("pytorch_model", ".bin"),
            ("pytorch_model", ".pt"),
            ("model", ".pt"),
            ("model", ".pth"),
        ],
        index: "pytorch_model.bin.index.json",
        open: |path, _| Ok(Arc::new(PytorchFile::open(path)?)),
    },
];

/// Mistral's own layout.
static CONSOLIDATED: [Format; 1] = [Format {
    names: &[("consolidated", ".safetensors")],
    index: "consolidated.safetensors.index.json",
    open: FORMATS[0].open,
}];

/// Whose names the files of a directory have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Transformers,
    Mistral,
}

impl Naming {
    fn formats(self) -> &'static [Format] {
        match self {
            Self::Transformers => &FORMATS,
            Self::Mistral => &CONSOLIDATED,
        }
    }
}

/// Factor of a product with NVFP4 blocks in inference, and the divisor of its inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockFactors {
    pub(super) weight: f32,
    pub(super) input: f32,
}

/// The place of a stored tensor: its file among a model's, and its entry among that file's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) entry: usize,
}

/// The files of a model and, by name, where each tensor is: file by file in order of file name, in each
/// as the file lists them. This is the order in which the stock converter visits them.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) files: Vec<Arc<dyn TensorFile>>,
    /// By the tensors' names.
    pub(crate) tensors: IndexMap<String, Place>,
    /// Factors of tensors that are NVFP4 blocks, by their position in the file of computed tensors.
    pub(super) factors: HashMap<u64, BlockFactors>,
    /// Names of the tensors that are decoded from FP8 with scales.
    pub(super) fp8: HashSet<String>,
    /// Files of weights that are there and not used.
    pub(super) warnings: Vec<String>,
}

impl Parts {
    /// No files at all.
    pub(crate) fn none() -> Self {
        Self {
            files: Vec::new(),
            tensors: IndexMap::new(),
            factors: HashMap::new(),
            fp8: HashSet::new(),
            warnings: Vec::new(),
        }
    }

    /// A single file, with its tensors under other names.
    pub(super) fn of(file: Arc<dyn TensorFile>, tensors: IndexMap<String, Place>) -> Self {
        Self {
            files: vec![file],
            tensors,
            factors: HashMap::new(),
            fp8: HashSet::new(),
            warnings: Vec::new(),
        }
    }

    /// Finds and opens the files of `dir`. With `headers_suffice` their data may be missing.
    ///
    /// # Errors
    /// No file of weights, a file that the index names and that is missing, tensors that the index and
    /// the files do not agree on, a tensor in two files, or a malformed file.
    pub(crate) fn open(dir: &Path, naming: Naming, headers_suffice: bool) -> Result<Self> {
        let (format, names) = part_names(dir, naming)?;
        let index_path = dir.join(format.index);
        let index = index_path
            .is_file()
            .then(|| read_index(&index_path))
            .transpose()?;
        let mut warnings = Vec::new();
        let names = match &index {
            Some(index) => {
                let listed: BTreeSet<String> = index.values().cloned().collect();
                let others: Vec<&str> = names
                    .iter()
                    .map(String::as_str)
                    .filter(|n| !listed.contains(*n))
                    .collect();
                if !others.is_empty() {
                    warnings.push(format!(
                        "{} does not list these files of weights, which are not used: {}",
                        format.index,
                        self::listed(others.into_iter())
                    ));
                }
                listed.into_iter().collect()
            }
            None => {
                check_shards(dir, &names)?;
                names
            }
        };
        if let Some(index) = &index {
            report_missing_files(dir, format.index, &names, index)?;
        }

        let mut files: Vec<Arc<dyn TensorFile>> = Vec::new();
        let mut tensors: IndexMap<String, Place> = IndexMap::new();
        for name in &names {
            let file = (format.open)(&dir.join(name), headers_suffice)?;
            for (index, entry) in file.entries().iter().enumerate() {
                let at = Place {
                    file: files.len(),
                    entry: index,
                };
                if let Some(other) = tensors.insert(entry.name.clone(), at) {
                    return Err(Error::input(
                        file.path(),
                        format!(
                            "tensor '{}': expected it once, found it in {} too: the directory holds more than one copy of the model",
                            entry.name, names[other.file]
                        ),
                    ));
                }
            }
            files.push(file);
        }
        if let Some(index) = &index {
            compare_with_index(&index_path, index, &tensors)?;
        }
        Ok(Self {
            files,
            tensors,
            factors: HashMap::new(),
            fp8: HashSet::new(),
            warnings,
        })
    }

    pub(crate) fn entry(&self, at: Place) -> &Entry {
        &self.files[at.file].entries()[at.entry]
    }
}

/// The first format that the directory has files or an index of, and the names of those files.
fn part_names(dir: &Path, naming: Naming) -> Result<(&'static Format, Vec<String>)> {
    let io_error = |source| Error::io(dir, source);
    let mut all = Vec::new();
    for item in std::fs::read_dir(dir).map_err(io_error)? {
        if let Ok(name) = item.map_err(io_error)?.file_name().into_string() {
            all.push(name);
        }
    }
    all.sort();
    for format in naming.formats() {
        // Only one way of naming: others beside it are other copies.
        let of = |(prefix, suffix): &(&str, &str)| -> Vec<String> {
            let names = all
                .iter()
                .filter(|n| n.starts_with(prefix) && n.ends_with(suffix));
            names.cloned().collect()
        };
        let names = format.names.iter().map(of).find(|names| !names.is_empty());
        if let Some(names) = names {
            return Ok((format, names));
        }
        if dir.join(format.index).is_file() {
            return Ok((format, Vec::new()));
        }
    }
    Err(Error::input(
        dir,
        match naming {
            Naming::Transformers => "no model*.safetensors and no pytorch_model*.bin file in this directory",
            Naming::Mistral => "no consolidated*.safetensors file in this directory",
        }
        .to_owned(),
    ))
}

/// The number of a shard and their count, as its name tells them: `model-00001-of-00002.safetensors`.
fn shard_numbers(name: &str) -> Option<(&str, u64, u64)> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (prefix, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(number) || !digits(count) {
        return None;
    }
    Some((prefix, number.parse().ok()?, count.parse().ok()?))
}

/// Without an index, the names of shards tell how many there are.
fn check_shards(dir: &Path, names: &[String]) -> Result<()> {
    let mut sets: BTreeMap<(&str, u64), Vec<(u64, &str)>> = BTreeMap::new();
    for name in names {
        if let Some((prefix, number, count)) = shard_numbers(name) {
            sets.entry((prefix, count)).or_default().push((number, name));
        }
    }
    for ((_, count), shards) in &sets {
        // A hostile count costs nothing: the first gap is found within one more than the files there are.
        let there = |n: u64| shards.iter().any(|(number, _)| *number == n);
        let first = u64::from(!there(0));
        let last = count.saturating_sub(1).saturating_add(first);
        let Some(missing) = (first..=last).find(|&n| !there(n)) else {
            continue;
        };
        let (number, example) = shards[0];
        let (width, of) = width_and_rest(example, number);
        let path = dir.join(of.replacen("{}", &format!("{missing:0width$}"), 1));
        return Err(Error::input(
            path,
            format!(
                "missing: the names of the shards say that there are {count}, found {} ({})",
                shards.len(),
                listed(shards.iter().map(|(_, name)| *name))
            ),
        ));
    }
    Ok(())
}

/// The width of a shard's number, and its name with `{}` in the number's place.
fn width_and_rest(name: &str, number: u64) -> (usize, String) {
    let before = name.rfind("-of-").unwrap_or(0);
    let start = name[..before].rfind('-').map_or(0, |at| at + 1);
    let width = (before - start).max(number.to_string().len().min(20));
    (width, format!("{}{{}}{}", &name[..start], &name[before..]))
}

/// The `weight_map` of an index: tensor name -> file name.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    let input = |message: String| Error::input(path, message);
    let value = crate::json::read(path)?;
    let map = value
        .get("weight_map")
        .and_then(|m| m.as_object())
        .ok_or_else(|| input("weight_map: expected an object, found none".to_owned()))?;
    let mut index = BTreeMap::new();
    for (tensor, file) in map {
        let file = file.as_str().ok_or_else(|| {
            input(format!(
                "weight_map: {tensor}: expected the name of a file, found another value"
            ))
        })?;
        let mut components = Path::new(file).components();
        // An index must not reach out of its directory.
        if !matches!(
            (components.next(), components.next()),
            (Some(Component::Normal(_)), None)
        ) {
            return Err(input(format!(
                "weight_map: {tensor}: expected the name of a file in this directory, found {file:?}"
            )));
        }
        index.insert(tensor.clone(), file.to_owned());
    }
    Ok(index)
}

fn report_missing_files(
    dir: &Path,
    index_name: &str,
    names: &[String],
    index: &BTreeMap<String, String>,
) -> Result<()> {
    let missing: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|n| !dir.join(n).is_file())
        .collect();
    let Some(&first) = missing.first() else {
        return Ok(());
    };
    let tensors = index.values().filter(|f| missing.contains(&f.as_str())).count();
    Err(Error::input(
        dir.join(first),
        format!(
            "missing: {index_name} names {} files, of which {} {} not there ({}), with {tensors} tensors",
            names.len(),
            missing.len(),
            if missing.len() == 1 { "is" } else { "are" },
            listed(missing.iter().copied()),
        ),
    ))
}

fn compare_with_index(
    path: &Path,
    index: &BTreeMap<String, String>,
    tensors: &IndexMap<String, Place>,
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
    Err(Error::input(path, message))
}
