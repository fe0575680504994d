//! A model of one or many GGUF files.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::split::{COUNT_KEY, NUMBER_KEY, TENSORS_KEY, shard_path, shard_prefix};
use crate::{Error, ForeignTensor, GgufFile, Metadata, OpenOptions, Result, TensorInfo};

/// A tensor of a model.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TensorRef<'a> {
    /// Place in tensor order over all files.
    pub index: usize,
    /// Index of its file in [`GgufModel::files`].
    pub file: usize,
    /// Its entry in the header.
    pub info: &'a TensorInfo,
}

/// One or many files (`split.*`) as one model.
#[derive(Debug)]
pub struct GgufModel {
    files: Vec<GgufFile>,
    /// File, and index in that file, of each tensor.
    places: Vec<(usize, usize)>,
    by_name: HashMap<String, usize>,
}

impl GgufModel {
    /// Opens a file, and with a first shard all the others.
    ///
    /// # Errors
    /// When a file cannot be read or is not well-formed, when a shard is missing, and when shards do
    /// not belong together.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, OpenOptions::default())
    }

    /// Opens a model as `options` say.
    ///
    /// # Errors
    /// As [`GgufModel::open`].
    pub fn open_with(path: &Path, options: OpenOptions) -> Result<Self> {
        Self::open_any(path, options, false)
    }

    /// The same, also of a model with tensors of types that are not read ([`GgufModel::foreign_tensors`]).
    ///
    /// # Errors
    /// As [`GgufModel::open`].
    pub fn open_to_list(path: &Path, options: OpenOptions) -> Result<Self> {
        Self::open_any(path, options, true)
    }

    fn open_any(path: &Path, options: OpenOptions, foreign: bool) -> Result<Self> {
        let first = GgufFile::open_any(path, options, foreign)?;
        let count = first.metadata().get_u64(COUNT_KEY).unwrap_or(0);
        if count <= 1 {
            return Self::of_files(vec![first]);
        }
        let number = shard_number(&first)?;
        let fits = |what: &str, found: String, expected: String| Error::Shards {
            path: path.to_path_buf(),
            what: what.into(),
            found,
            expected,
        };
        let Some(prefix) = u16::try_from(count)
            .ok()
            .and_then(|n| shard_prefix(path, number, n.into()))
        else {
            let expected = format!("PREFIX-{:05}-of-{count:05}.gguf", number.saturating_add(1));
            return Err(fits("name of a shard", path.display().to_string(), expected));
        };
        let paths: Vec<PathBuf> = (0..count).map(|i| shard_path(&prefix, i, count)).collect();
        if number != 0 {
            let found = format!("shard {} of {count}", number.saturating_add(1));
            return Err(fits(
                "a model is opened by its first shard",
                found,
                paths[0].display().to_string(),
            ));
        }
        let missing: Vec<_> = paths.iter().filter(|p| !p.exists()).collect();
        if !missing.is_empty() {
            const NAMED: usize = 8;
            let names: Vec<_> = missing
                .iter()
                .take(NAMED)
                .map(|p| p.display().to_string())
                .collect();
            let more = missing.len().checked_sub(NAMED).filter(|&n| n > 0);
            let more = more.map_or(String::new(), |n| format!(" and {n} more"));
            let found = format!("missing: {}{more}", names.join(", "));
            return Err(fits("shards of the model", found, format!("{count} files")));
        }

        let mut files = vec![first];
        for (index, path) in paths.iter().enumerate().skip(1) {
            let file = GgufFile::open_any(path, options, foreign)?;
            let fits = |what: &str, found: String, expected: String| Error::Shards {
                path: path.clone(),
                what: what.into(),
                found,
                expected,
            };
            let number = shard_number(&file)?;
            if number != index as u64 {
                return Err(fits(
                    &format!("key '{NUMBER_KEY}'"),
                    number.to_string(),
                    index.to_string(),
                ));
            }
            // Absent in a later shard is no contradiction; a different number is.
            if let Some(n) = file.metadata().get_u64(COUNT_KEY).filter(|&n| n != count) {
                return Err(fits(
                    &format!("key '{COUNT_KEY}'"),
                    n.to_string(),
                    count.to_string(),
                ));
            }
            files.push(file);
        }
        let model = Self::of_files(files)?;
        let expected = model.metadata().get_u64(TENSORS_KEY);
        let total = model.len() + model.foreign_tensors().count();
        if expected != Some(total as u64) {
            let expected = expected.map_or("a number".into(), |n| n.to_string());
            let found = format!("{total} tensors in all shards");
            return Err(fits(&format!("key '{TENSORS_KEY}'"), found, expected));
        }
        Ok(model)
    }

    /// Opens one file by itself, whatever its `split.*` keys say.
    ///
    /// # Errors
    /// As [`GgufFile::open`].
    pub fn open_single(path: &Path, options: OpenOptions) -> Result<Self> {
        Self::of_files(vec![GgufFile::open_with(path, options)?])
    }

    /// [`GgufModel::open_single`] as [`GgufModel::open_to_list`].
    ///
    /// # Errors
    /// As [`GgufFile::open`].
    pub fn open_single_to_list(path: &Path, options: OpenOptions) -> Result<Self> {
        Self::of_files(vec![GgufFile::open_any(path, options, true)?])
    }

    fn of_files(files: Vec<GgufFile>) -> Result<Self> {
        let mut places = Vec::new();
        let mut by_name = HashMap::new();
        for (f, file) in files.iter().enumerate() {
            for (t, info) in file.tensors().iter().enumerate() {
                if by_name.insert(info.name.clone(), places.len()).is_some() {
                    return Err(Error::Shards {
                        path: file.path().to_path_buf(),
                        what: format!("tensor '{}'", info.name),
                        found: "it in two shards".into(),
                        expected: "each tensor once".into(),
                    });
                }
                places.push((f, t));
            }
        }
        Ok(Self {
            files,
            places,
            by_name,
        })
    }

    /// The path by which the model was opened.
    pub fn path(&self) -> &Path {
        self.files[0].path()
    }

    /// Keys and values of the first file.
    pub fn metadata(&self) -> &Metadata {
        self.files[0].metadata()
    }

    /// The files, in order; at least one.
    pub fn files(&self) -> &[GgufFile] {
        &self.files
    }

    /// Tensors in file order, over all files.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorRef<'_>> {
        (0..self.places.len()).map(|index| TensorRef {
            index,
            file: self.file_of(index),
            info: self.info(index),
        })
    }

    /// Tensors of types that are not read, each with its file, where the model was opened to be listed
    /// ([`GgufModel::open_to_list`]).
    pub fn foreign_tensors(&self) -> impl Iterator<Item = (usize, &ForeignTensor)> {
        let files = self.files.iter().enumerate();
        files.flat_map(|(at, file)| file.header().foreign.iter().map(move |t| (at, t)))
    }

    /// Index of the tensor of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A tensor's entry in its header.
    ///
    /// # Panics
    /// When there is no tensor `index`.
    pub fn info(&self, index: usize) -> &TensorInfo {
        let (file, tensor) = self.places[index];
        &self.files[file].tensors()[tensor]
    }

    /// Index in [`GgufModel::files`] of the file that holds a tensor.
    ///
    /// # Panics
    /// When there is no tensor `index`.
    pub fn file_of(&self, index: usize) -> usize {
        self.places[index].0
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether the data of every tensor is there. Can only be false with
    /// [`OpenOptions::allow_missing_data`].
    pub fn has_data(&self) -> bool {
        self.files.iter().all(GgufFile::has_data)
    }

    /// Bytes `range` of a tensor, numbers in little-endian order. Borrowed when the file is mapped and
    /// little-endian.
    ///
    /// # Errors
    /// As [`GgufFile::bytes`].
    ///
    /// # Panics
    /// When there is no tensor `index`.
    pub fn bytes(&self, index: usize, range: Range<u64>) -> Result<Cow<'_, [u8]>> {
        let (file, tensor) = self.places[index];
        self.files[file].bytes(tensor, range)
    }

    /// Fills `out` with the bytes of a tensor from `start` on.
    ///
    /// # Errors
    /// As [`GgufFile::bytes`].
    ///
    /// # Panics
    /// When there is no tensor `index`.
    pub fn read(&self, index: usize, start: u64, out: &mut [u8]) -> Result<()> {
        let (file, tensor) = self.places[index];
        self.files[file].read(tensor, start, out)
    }

    /// Hints that a tensor's bytes will be read soon: the system may fetch what is not in memory meanwhile. Returns when it
    /// has taken the hint, which for large tensors may be only after a part has been read.
    ///
    /// # Panics
    /// When there is no tensor `index`.
    pub fn will_read(&self, index: usize) {
        let (file, tensor) = self.places[index];
        self.files[file].will_read(tensor);
    }
}

fn shard_number(file: &GgufFile) -> Result<u64> {
    file.metadata().get_u64(NUMBER_KEY).ok_or_else(|| Error::Shards {
        path: file.path().to_path_buf(),
        what: format!("key '{NUMBER_KEY}'"),
        found: "none".into(),
        expected: "the shard's number".into(),
    })
}
