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
    /// The shard of the source that holds it, for outputs that are cut as the source is; 0 where there are none.
    pub shard: usize,
}

/// A model to convert or quantize. Nothing downstream knows which kind it is.
///
/// Of weights that a program makes itself, that is `read_rows`, and nothing in `raw_rows`:
///
/// ```
/// use std::{borrow::Cow, ops::Range, path::{Path, PathBuf}};
/// use gguf::{Metadata, TensorType};
/// use quantsmith_convert::Result;
/// use quantsmith_convert::quantize::{self, QuantizeOptions};
/// use quantsmith_convert::recipe::Preset;
/// use quantsmith_convert::source::{Source, SourceTensor};
///
/// struct Made(Metadata, Vec<SourceTensor>);
///
/// impl Source for Made {
///     fn path(&self) -> &Path { Path::new("made in memory") }
///     fn files(&self) -> Result<Vec<PathBuf>> { Ok(Vec::new()) }
///     fn metadata(&self) -> &Metadata { &self.0 }
///     fn tensors(&self) -> &[SourceTensor] { &self.1 }
///     fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
///         let first = rows.start * self.1[tensor].shape[0];
///         for (weight, i) in out.iter_mut().zip(first..) { *weight = (i as f32).sin(); }
///         Ok(())
///     }
///     fn raw_rows(&self, _: usize, _: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> { Ok(None) }
/// }
///
/// let mut metadata = Metadata::new();
/// metadata.set("general.architecture", "llama");
/// metadata.set("llama.block_count", 1u32);
/// let tensor = SourceTensor { name: "blk.0.attn_q.weight".to_owned(), shape: vec![256, 8], ty: TensorType::F32, shard: 0 };
/// let source = Made(metadata, vec![tensor]);
/// let preset = Preset::parse("Q4_K_M").expect("a preset of llama-quantize");
/// // This is no whole Llama, which would be refused.
/// let options = QuantizeOptions::new(preset).allow_incomplete(true);
/// let plan = quantize::plan(&source, Path::new("made.gguf"), &options, None)?;
/// assert_eq!(plan.weights(), 2048);
/// # Ok::<(), quantsmith_convert::Error>(())
/// ```
///
/// The recipe of a preset reads `general.architecture` and its `block_count` in any case, as llama-quantize does; whatever
/// else the architecture needs is asked for unless a model may be incomplete. Tensors that are no model's are planned one by
/// one, by [`OutputPlan::new`](crate::plan::OutputPlan::new), and written by [`pipeline::execute`](crate::pipeline::execute).
///
/// `read_rows` is called from many threads at once, for rows in no particular order. Errors of a source of one's own are
/// [`Error::Input`], with what [`Source::path`] names.
pub trait Source: Sync {
    /// The file or directory, for messages; whatever names it, where it is neither.
    fn path(&self) -> &Path;

    /// The files that hold the weights, by which a run that is continued knows its source: in a directory
    /// those with the endings of weight files. Weights that are in no file have none: an empty list.
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
    /// whose length is the number of rows times `ne[0]`. `tensor` is the place in [`Source::tensors`].
    ///
    /// # Errors
    /// When they cannot be read or decoded.
    fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()>;

    /// The bytes of whole rows exactly as an output of type [`SourceTensor::ty`] stores them, or
    /// `None` when they have to be encoded from [`Source::read_rows`].
    ///
    /// # Errors
    /// When they cannot be read.
    fn raw_rows(&self, tensor: usize, rows: Range<u64>) -> Result<Option<Cow<'_, [u8]>>>;
}

/// Endings of files that hold weights.
const WEIGHT_ENDINGS: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];

pub(crate) fn weight_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let io = |source| Error::io(path, source);
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
