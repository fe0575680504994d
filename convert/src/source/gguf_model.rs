//! A GGUF model as a source.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gguf::{Backing, GgufModel, Metadata, OpenOptions};

use super::{Source, SourceTensor};
use crate::{Error, Result};

/// The tensors of a GGUF model of one or many files, in file order.
#[derive(Debug)]
pub struct GgufSource {
    model: GgufModel,
    tensors: Vec<SourceTensor>,
}

impl GgufSource {
    /// Opens a model whose data is read with plain reads: mapped pages would count as memory of
    /// this process, and the pipeline keeps to a bound.
    ///
    /// # Errors
    /// When a file cannot be read or is not well-formed.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(
            path,
            OpenOptions::default()
                .backing(Backing::File)
                .allow_missing_data(false),
        )
    }

    /// Opens only the headers: enough to plan, also where the tensor data is not there yet.
    ///
    /// # Errors
    /// When a header cannot be read or is not well-formed.
    pub fn open_headers(path: &Path) -> Result<Self> {
        Self::open_with(
            path,
            OpenOptions::default()
                .backing(Backing::File)
                .allow_missing_data(true),
        )
    }

    /// Opens a model as `options` say.
    ///
    /// # Errors
    /// When a file cannot be read or is not well-formed.
    pub fn open_with(path: &Path, options: OpenOptions) -> Result<Self> {
        let model = GgufModel::open_with(path, options)?;
        let tensors = model
            .tensors()
            .map(|t| SourceTensor {
                name: t.info.name.clone(),
                shape: t.info.shape.clone(),
                ty: t.info.ty,
                shard: t.file,
            })
            .collect();
        Ok(Self { model, tensors })
    }

    /// The model itself.
    pub fn model(&self) -> &GgufModel {
        &self.model
    }

    fn bytes(&self, tensor: usize, rows: Range<u64>) -> Result<Cow<'_, [u8]>> {
        let info = self.model.info(tensor);
        if rows.start > rows.end || rows.end > info.rows() {
            return Err(Error::input(
                self.path(),
                format!(
                    "tensor '{}': expected the rows {rows:?}, found {}",
                    info.name,
                    info.rows()
                ),
            ));
        }
        let row = info.row_bytes();
        Ok(self.model.bytes(tensor, rows.start * row..rows.end * row)?)
    }
}

impl Source for GgufSource {
    fn path(&self) -> &Path {
        self.model.path()
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let files = self.model.files().iter();
        Ok(files.map(|f| f.path().to_path_buf()).collect())
    }

    fn metadata(&self) -> &Metadata {
        self.model.metadata()
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let bytes = self.bytes(tensor, rows)?;
        let found = &self.tensors[tensor];
        quants::decode(found.ty, &bytes, out).map_err(|source| Error::Codec {
            path: self.path().to_path_buf(),
            tensor: found.name.clone(),
            source,
        })
    }

    fn raw_rows(&self, tensor: usize, rows: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        self.bytes(tensor, rows).map(Some)
    }
}
