//! Sources of weights: ordered tensors with GGUF names and shapes, read as rows of f32.

mod cancellable;
mod gguf_model;
pub mod hf;

pub use cancellable::Cancellable;
pub use gguf_model::GgufSource;

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gguf::{Metadata, TensorType};

use crate::{Error, Result};

/// One tensor of a source, under its GGUF name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTensor {
    /// The GGUF name.
    pub name: String,
    /// Dimensions, innermost first, as GGUF stores them.
    pub shape: Vec<u64>,
    /// The type in which the unquantized GGUF holds it (a GGUF source: its own type).
    pub ty: TensorType,
    /// The shard of the source that holds it, for outputs that are cut as the source is.
    pub shard: usize,
}

/// A model to convert or quantize. Nothing downstream knows which kind it is.
pub trait Source: Sync {
    /// The file or directory, for messages.
    fn path(&self) -> &Path;

    /// The files that hold the weights, by which a run that is continued knows its source: in a directory
    /// those with the endings of weight files.
    ///
    /// # Errors
    /// When a directory cannot be read.
    fn files(&self) -> Result<Vec<PathBuf>> {
        weight_files(self.path())
    }

    /// Metadata of the unquantized model, in output order.
    fn metadata(&self) -> &Metadata;

    /// The tensors in output order.
    fn tensors(&self) -> &[SourceTensor];

    /// Decodes whole rows (`ne[0]` weights each, counted over all outer dimensions) into `out`,
    /// whose length is the number of rows times `ne[0]`.
    fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()>;

    /// The bytes of whole rows exactly as an output of type [`SourceTensor::ty`] stores them, or
    /// `None` when they have to be encoded from [`Source::read_rows`].
    fn raw_rows(&self, tensor: usize, rows: Range<u64>) -> Result<Option<Cow<'_, [u8]>>>;
}

/// Endings of files that hold weights.
const WEIGHT_ENDINGS: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];

pub(crate) fn weight_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let io = |source| Error::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(io)? {
        let file = entry.map_err(io)?.path();
        let ending = file.extension().and_then(|e| e.to_str());
        if ending.is_some_and(|e| WEIGHT_ENDINGS.contains(&e)) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
