//! Merging of shards.

use std::path::Path;

use super::{COUNT_KEY, copy_tensor};
use crate::staging::already_exists;
use crate::{Error, FilePlan, GgufModel, Result, Writer, ggml_shape};

/// Plans the one file that the shards of a model are merged into: the first shard's metadata with
/// [`COUNT_KEY`] set to 0 and moved to the end, as gguf-split leaves it, and the tensors of all shards.
///
/// # Errors
/// [`Error::Shards`] when the model is not a set of shards.
pub fn merge_plan(model: &GgufModel) -> Result<FilePlan> {
    let mut metadata = model.metadata().clone();
    let count = metadata.get_u64(COUNT_KEY);
    if count.is_none_or(|n| n == 0) {
        return Err(Error::Shards {
            path: model.path().to_path_buf(),
            what: format!("key '{COUNT_KEY}'"),
            found: count.map_or("none".into(), |n| n.to_string()),
            expected: "the number of shards".into(),
        });
    }
    metadata.set(COUNT_KEY, 0u16);
    let tensors = model
        .tensors()
        .map(|t| (t.info.name.clone(), ggml_shape(&t.info.shape), t.info.ty));
    FilePlan::new(metadata, tensors)
}

/// Merges the shards of a model into a new file. `progress` gets the number of bytes copied since its
/// last call.
///
/// # Errors
/// When the output exists, the model is not a set of shards, or reading or writing fails; no output is
/// then left behind.
pub fn merge(model: &GgufModel, output: &Path, progress: &mut dyn FnMut(u64)) -> Result<()> {
    if output.symlink_metadata().is_ok() {
        return Err(already_exists(output));
    }
    let plan = merge_plan(model)?;
    let writer = Writer::create(output, &plan)?;
    for index in 0..model.len() {
        copy_tensor(model, index, &writer, index, progress)?;
    }
    // Looked at again: the name may have been taken while the bytes were copied.
    writer.complete()?.publish_new()
}
