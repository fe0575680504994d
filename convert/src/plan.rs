//! Plans: for every output file the metadata and each tensor's type, shape, offset and size, exact to
//! the byte, before any work is done.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gguf::{Endian, FilePlan, Metadata, TensorInfo, TensorType, Value};

use crate::completeness;
use crate::source::{Source, SourceTensor};
use crate::{Error, Result};

/// A change to the source's metadata. A list of them is kept instead of a changed copy: vocabularies
/// are large and a table has many files.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Edit {
    /// Sets a key, moving it to the end (as ggml's `gguf_set_val_*` does).
    Set(String, Value),
    /// Sets a key where it stands, or at the end.
    SetInPlace(String, Value),
    /// Removes a key.
    Remove(String),
    /// Starts from nothing.
    Clear,
    /// Ends every string at its first NUL byte, as all strings that pass through ggml's C interface.
    EndStringsAtNul,
}

/// Makes a tensor's blocks otherwise than [`quants::encode`]: what optimizers hand to the pipeline.
pub trait Encoder: std::fmt::Debug + Send + Sync {
    /// Encodes some rows, counted over all stacked matrices, of one matrix. `weights` are theirs, in rows of
    /// `row_len`; `importance`, where there is some, is one row's. `out` is exactly their blocks.
    ///
    /// # Errors
    /// As [`quants::encode`].
    fn encode(
        &self,
        ty: TensorType,
        rows: std::ops::Range<u64>,
        weights: &[f32],
        row_len: usize,
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), quants::Error>;

    /// Picoseconds that it takes for a weight of this type, by which parts of a plan are balanced; `None` for no more
    /// than stock's.
    fn picoseconds(&self, _ty: TensorType) -> Option<u64> {
        None
    }
}

/// A tensor of an output file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedTensor {
    /// Index among the source's tensors.
    pub source: usize,
    /// The name in the output.
    pub name: String,
    /// Dimensions in the output, innermost first.
    pub shape: Vec<u64>,
    /// The type in the output.
    pub ty: TensorType,
    /// Importance of each column, matrix after matrix, for the encoder.
    pub importance: Option<Arc<[f32]>>,
    /// Encoder in place of stock's; `None` for stock's bytes.
    pub encoder: Option<Arc<dyn Encoder>>,
}

impl PlannedTensor {
    /// Tensor number `source` under its own name and shape as blocks of `ty`, without importance.
    pub fn new(source: usize, tensor: &SourceTensor, ty: TensorType) -> Self {
        Self {
            source,
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            ty,
            importance: None,
            encoder: None,
        }
    }
}

/// The plan of one output file.
#[derive(Clone, Debug)]
pub struct OutputPlan<'a> {
    /// Path under which it is published.
    pub path: PathBuf,
    /// Metadata that it starts from.
    base: &'a Metadata,
    edits: Vec<Edit>,
    contents: Vec<PlannedTensor>,
    infos: Vec<TensorInfo>,
    header_len: u64,
    file_size: u64,
    endian: Endian,
    /// Without padding after the metadata.
    bare: bool,
}

impl<'a> OutputPlan<'a> {
    /// Plans a file of these tensors, in this order, with the source's metadata as edited.
    ///
    /// # Errors
    /// Metadata or tensors that a GGUF file cannot hold.
    pub fn new(
        path: impl Into<PathBuf>,
        base: &'a Metadata,
        edits: Vec<Edit>,
        contents: Vec<PlannedTensor>,
    ) -> Result<Self> {
        let mut plan = Self {
            path: path.into(),
            base,
            edits,
            contents,
            infos: Vec::new(),
            header_len: 0,
            file_size: 0,
            endian: Endian::Little,
            bare: false,
        };
        let file = plan.file_plan()?;
        plan.header_len = file.header_len();
        plan.file_size = file.file_size();
        plan.infos = file.tensors;
        Ok(plan)
    }

    /// Plans a file that holds every tensor of the source, in its order, as the source types it.
    ///
    /// # Errors
    /// As [`OutputPlan::new`]; also when the source is no whole model: the tensors and keys are named.
    pub fn unquantized(path: impl Into<PathBuf>, source: &'a dyn Source, edits: Vec<Edit>) -> Result<Self> {
        let contents = source
            .tensors()
            .iter()
            .enumerate()
            .map(|(index, tensor)| PlannedTensor::new(index, tensor, tensor.ty))
            .collect();
        let plan = Self::new(path, source.metadata(), edits, contents)?;
        match completeness::shortfalls(source.metadata(), &plan.infos) {
            Ok(found) if !found.is_empty() => {
                Err(Error::input(source.path(), completeness::describe(&found)))
            }
            _ => Ok(plan),
        }
    }

    /// The complete file plan, metadata included. It is made anew at each call, so that only the
    /// file being opened holds a copy of the vocabulary.
    ///
    /// # Errors
    /// Metadata or tensors that a GGUF file cannot hold.
    pub fn file_plan(&self) -> Result<FilePlan> {
        let tensors = self
            .contents
            .iter()
            .map(|t| (t.name.clone(), t.shape.clone(), t.ty));
        let mut plan = FilePlan::new(self.metadata(), tensors)?;
        plan.endian = self.endian;
        Ok(if self.bare { plan.bare() } else { plan })
    }

    /// The same file, ended right after its metadata when it has no tensors: a vocabulary as the stock converter
    /// writes it.
    ///
    /// # Errors
    /// As [`OutputPlan::new`].
    pub fn bare(mut self) -> Result<Self> {
        self.bare = true;
        let file = self.file_plan()?;
        self.header_len = file.header_len();
        self.file_size = file.file_size();
        Ok(self)
    }

    /// The same file in this byte order. Tensor types that have none but little-endian are refused when
    /// the file is written.
    #[must_use]
    pub fn with_endian(mut self, endian: Endian) -> Self {
        self.endian = endian;
        self
    }

    /// The byte order of the file.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// Metadata that the output starts from.
    pub(crate) fn base(&self) -> &'a Metadata {
        self.base
    }

    /// The changes to it.
    pub(crate) fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// The value that a key has in the file.
    pub(crate) fn metadata_value(&self, wanted: &str) -> Option<Value> {
        let mut value = self.base.get(wanted).cloned();
        for edit in &self.edits {
            match edit {
                Edit::Set(key, new) | Edit::SetInPlace(key, new) if key == wanted => {
                    value = Some(new.clone());
                }
                Edit::Remove(key) if key == wanted => value = None,
                Edit::Clear => value = None,
                _ => {}
            }
        }
        value
    }

    /// The metadata of the file.
    pub fn metadata(&self) -> Metadata {
        let mut metadata = if self.edits.first() == Some(&Edit::Clear) {
            Metadata::new()
        } else {
            self.base.clone()
        };
        for edit in &self.edits {
            match edit {
                Edit::Set(key, value) => metadata.set(key.clone(), value.clone()),
                Edit::SetInPlace(key, value) => metadata.set_in_place(key.clone(), value.clone()),
                Edit::Remove(key) => {
                    metadata.remove(key);
                }
                Edit::Clear => metadata = Metadata::new(),
                Edit::EndStringsAtNul => end_strings_at_nul(&mut metadata),
            }
        }
        metadata
    }

    /// The tensors, in file order.
    pub fn contents(&self) -> &[PlannedTensor] {
        &self.contents
    }

    /// Has a tensor of this number in the file encoded otherwise. Its type, size and place stay.
    pub fn set_encoder(&mut self, tensor: usize, encoder: Arc<dyn Encoder>) {
        if let Some(planned) = self.contents.get_mut(tensor) {
            planned.encoder = Some(encoder);
        }
    }

    /// Names, shapes, types and offsets of the tensors, in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.infos
    }

    /// Bytes before the first tensor's.
    pub fn header_len(&self) -> u64 {
        self.header_len
    }

    /// Bytes of the finished file.
    pub fn file_size(&self) -> u64 {
        self.file_size
    }

    /// Bytes of all tensors, without padding.
    pub fn tensor_bytes(&self) -> u64 {
        self.infos.iter().map(TensorInfo::size_bytes).sum()
    }

    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.infos.iter().map(TensorInfo::elements).sum()
    }

    /// Checks what the pipeline relies on: sources exist, have the planned rows, and importance fits.
    pub(crate) fn check(&self, source: &dyn Source) -> Result<()> {
        for (tensor, info) in self.contents.iter().zip(&self.infos) {
            let wrong = |what: String| {
                Err(Error::Request(format!(
                    "{}: tensor '{}': {what}",
                    self.path.display(),
                    tensor.name
                )))
            };
            let Some(from) = source.tensors().get(tensor.source) else {
                return wrong(format!("expected a source tensor {}, found none", tensor.source));
            };
            if info.row_len() != from.shape.first().copied().unwrap_or(1)
                || info.elements() != from.shape.iter().product::<u64>()
            {
                return wrong(format!("shape {:?} from {:?}", tensor.shape, from.shape));
            }
            if let Some(importance) = &tensor.importance {
                let matrices = matrices(&from.shape);
                let needed = info.row_len().saturating_mul(matrices);
                if importance.len() as u64 != needed {
                    return wrong(format!(
                        "{} importance values, expected {needed}",
                        importance.len()
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Matrices stacked in a tensor: the product of all dimensions but the first two.
pub(crate) fn matrices(shape: &[u64]) -> u64 {
    shape.iter().skip(2).product()
}

fn end_strings_at_nul(metadata: &mut Metadata) {
    let cut = |bytes: &mut Vec<u8>| {
        if let Some(end) = bytes.iter().position(|&b| b == 0) {
            bytes.truncate(end);
        }
    };
    for (_, value) in metadata.iter_mut() {
        match value {
            Value::String(text) => cut(&mut text.0),
            Value::Array(gguf::Array::String(texts)) => {
                texts.iter_mut().for_each(|text| cut(&mut text.0));
            }
            _ => {}
        }
    }
}

/// `PATH` with another file name in the same directory.
pub(crate) fn sibling(path: &Path, name: &str) -> PathBuf {
    path.parent().map_or_else(|| name.into(), |dir| dir.join(name))
}
