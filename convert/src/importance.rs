//! Importance as quantizing uses it: values by tensor, and what is recorded of where they came from.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gguf::{GgufString, Value};
use imatrix::{Gap, ImportanceMatrix};

use crate::plan::{Edit, matrices};
use crate::source::SourceTensor;
use crate::{Error, Result};

/// llama-quantize keeps the strings it records in fields of this many bytes.
const MAX_RECORDED_BYTES: usize = 127;
/// Columns for which uniform importance is made up; more belong to no model but to a lying header.
const MAX_UNIFORM_COLUMNS: u64 = 1 << 28;

/// An importance matrix, limited to the chosen tensors.
#[derive(Clone, Debug)]
pub struct Importance {
    values: HashMap<String, Arc<[f32]>>,
    file: String,
    dataset: Option<String>,
    chunk_count: u32,
    gaps: Vec<Gap>,
    expert_prior: Option<u32>,
    uniform: Arc<Mutex<HashMap<u64, Arc<[f32]>>>>,
}

/// Treatment of a tensor whose type needs importance that the matrix does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingImportance {
    /// The quantization is refused, before anything is encoded.
    #[default]
    Error,
    /// Every column counts the same.
    Uniform,
}

/// Selection of an importance matrix's entries: all, those whose names contain one of the texts, or all but those.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Selection {
    /// All entries.
    #[default]
    All,
    /// Only entries whose name contains one of these.
    Include(Vec<String>),
    /// All entries but those whose name contains one of these.
    Exclude(Vec<String>),
}

impl Selection {
    fn keeps(&self, name: &str) -> bool {
        let contains_one = |parts: &[String]| parts.iter().any(|part| name.contains(part));
        match self {
            Self::All => true,
            Self::Include(parts) => contains_one(parts),
            Self::Exclude(parts) => !contains_one(parts),
        }
    }

    /// A text that no entry's name contains, if there is one.
    fn unmatched<'a>(&'a self, matrix: &ImportanceMatrix) -> Option<&'a str> {
        match self {
            Self::All => None,
            Self::Include(parts) | Self::Exclude(parts) => parts
                .iter()
                .find(|part| !matrix.entries.names().any(|name| name.contains(part.as_str())))
                .map(String::as_str),
        }
    }
}

/// Name under which the files record a matrix that is read from `path`, where no other is asked for.
pub fn last_component(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

impl Importance {
    /// Reads a file of either format and keeps the selected entries; `None` when none is left, which
    /// llama-quantize treats as having no importance matrix.
    ///
    /// The last component of the path is recorded in the files that are made with it, so that their bytes do not depend on
    /// where it lay; llama-quantize records the path as it was spelled, for which there is [`Self::recorded_as`].
    ///
    /// # Errors
    /// As [`ImportanceMatrix::load`] and [`Importance::new`].
    pub fn load(path: &Path, selection: &Selection) -> Result<Option<Self>> {
        Self::load_with_prior(path, selection, None)
    }

    /// [`Self::load`], where experts that saw few tokens are drawn towards the mean over all experts with the
    /// weight of `expert_prior` tokens ([`ImportanceMatrix::values_with_prior`]).
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with_prior(
        path: &Path,
        selection: &Selection,
        expert_prior: Option<u32>,
    ) -> Result<Option<Self>> {
        let matrix = ImportanceMatrix::load(path)?;
        let shown = path.to_string_lossy();
        let importance = Self::with_prior(&matrix, &shown, selection, expert_prior)?;
        Ok(importance.map(|importance| importance.recorded_as(&last_component(path))))
    }

    /// The same, recorded under another name (`quantize.imatrix.file`).
    #[must_use]
    pub fn recorded_as(mut self, name: &str) -> Self {
        self.file = name.to_owned();
        self
    }

    /// The name that files record (`quantize.imatrix.file`).
    pub fn recorded_name(&self) -> &str {
        &self.file
    }

    /// Keeps the selected entries of a matrix that is recorded as read from `file`.
    ///
    /// # Errors
    /// A value that is not finite or a selection that fits no entry, each named.
    pub fn new(matrix: &ImportanceMatrix, file: &str, selection: &Selection) -> Result<Option<Self>> {
        Self::with_prior(matrix, file, selection, None)
    }

    fn with_prior(
        matrix: &ImportanceMatrix,
        file: &str,
        selection: &Selection,
        expert_prior: Option<u32>,
    ) -> Result<Option<Self>> {
        if let Some(part) = selection.unmatched(matrix) {
            return Err(Error::Request(format!(
                "{file}: expected an entry with {part:?} in its name, found none"
            )));
        }
        let mut values = HashMap::new();
        for name in matrix.entries.names().filter(|name| selection.keeps(name)) {
            let of_tensor = match expert_prior {
                None => matrix.values(name),
                Some(tokens) => matrix.values_with_prior(name, tokens as f32),
            };
            let Some(of_tensor) = of_tensor else {
                continue;
            };
            if let Some(at) = of_tensor.iter().position(|v| !v.is_finite()) {
                return Err(Error::Request(format!(
                    "{file}: importance of tensor '{name}': expected a finite number, found {} at value {at}",
                    of_tensor[at]
                )));
            }
            values.insert(name.to_owned(), Arc::from(of_tensor));
        }
        if values.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            values,
            file: file.to_owned(),
            dataset: matrix.datasets.first().cloned(),
            chunk_count: matrix.chunk_count,
            gaps: matrix
                .gaps()
                .into_iter()
                .filter(|gap| selection.keeps(&gap.tensor))
                .collect(),
            expert_prior,
            uniform: Arc::default(),
        }))
    }

    /// Importance as a matrix that is still to be made will have it, for plans alone: its values are all the same, and the
    /// plan's sizes and types are those of the real one. `file`, `dataset` and `expert_prior` are what it will record.
    ///
    /// A calibration run sees the inputs of the matrices in a model's blocks, not those of its embeddings and output.
    pub fn expected(
        tensors: &[SourceTensor],
        file: &str,
        dataset: &str,
        selection: &Selection,
        expert_prior: Option<u32>,
    ) -> Self {
        let mut expected = Self {
            values: HashMap::new(),
            file: file.to_owned(),
            dataset: Some(dataset.to_owned()),
            // The count is not known; its key has one size whatever it is.
            chunk_count: 1,
            gaps: Vec::new(),
            expert_prior,
            uniform: Arc::default(),
        };
        let seen = |t: &&SourceTensor| {
            t.name.starts_with("blk.")
                && t.name.ends_with(".weight")
                && t.shape.len() > 1
                && selection.keeps(&t.name)
        };
        for tensor in tensors.iter().filter(seen) {
            let columns = tensor.shape[0].saturating_mul(matrices(&tensor.shape));
            if let Some(values) = expected.uniform(columns) {
                expected.values.insert(tensor.name.clone(), values);
            }
        }
        expected
    }

    /// Importance of each column of a tensor, matrix after matrix.
    pub fn of(&self, tensor: &str) -> Option<&Arc<[f32]>> {
        self.values.get(tensor)
    }

    /// The tensors that the matrix knows little about.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Importance that is the same for each of `columns` columns. The same values for every preset that asks,
    /// so that a tensor is encoded once for all of them; none for more columns than a model has.
    pub(crate) fn uniform(&self, columns: u64) -> Option<Arc<[f32]>> {
        if columns > MAX_UNIFORM_COLUMNS {
            return None;
        }
        let mut held = self.uniform.lock().unwrap_or_else(PoisonError::into_inner);
        let values = held
            .entry(columns)
            .or_insert_with(|| (0..columns).map(|_| 1.0).collect());
        Some(values.clone())
    }

    /// Number of tensors that have importance.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none; never so for a value of this type.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The keys by which llama-quantize records what was used.
    pub(crate) fn record(&self) -> Vec<Edit> {
        let text = |text: &str| {
            let end = text.len().min(MAX_RECORDED_BYTES);
            Value::String(GgufString(text.as_bytes()[..end].to_vec()))
        };
        let number = |n: usize| Value::U32(u32::try_from(n).unwrap_or(u32::MAX));
        let mut keys = vec![("file", text(&self.file))];
        if let Some(dataset) = &self.dataset {
            keys.push(("dataset", text(dataset)));
        }
        keys.push(("entries_count", number(self.len())));
        if self.chunk_count > 0 {
            keys.push(("chunks_count", Value::U32(self.chunk_count)));
        }
        if let Some(tokens) = self.expert_prior {
            keys.push(("expert_prior", Value::U32(tokens)));
        }
        keys.into_iter()
            .map(|(key, value)| Edit::Set(format!("quantize.imatrix.{key}"), value))
            .collect()
    }
}
