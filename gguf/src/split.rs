//! Shards: their names, cutting a model into them and merging them, as llama.cpp's gguf-split does.
//!
//! The first shard has all of the model's metadata, every shard has [`NUMBER_KEY`], [`TENSORS_KEY`] and
//! [`COUNT_KEY`], in this order, after it. Limits count tensor data with its padding, not metadata.
//!
//! Two things differ from gguf-split. It lays tensors out 32 bytes apart whatever `general.alignment`
//! says; here a model of another alignment keeps it, and the key is in every shard. It gives up when the
//! first tensor alone exceeds the size limit and accepts later ones that do; here each gets a shard of
//! its own.

mod merge;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::header::ALIGNMENT_KEY;
use crate::limits::DEFAULT_ALIGNMENT;
use crate::{CompleteFile, Error, FilePlan, GgufModel, Metadata, Result, TensorType, Writer, ggml_shape};

pub use merge::{merge, merge_plan};

/// Key of a shard's number, from 0 (u16).
pub const NUMBER_KEY: &str = "split.no";
/// Key of the number of shards (u16).
pub const COUNT_KEY: &str = "split.count";
/// Key of the number of tensors in all shards (i32).
pub const TENSORS_KEY: &str = "split.tensors.count";

/// Bytes copied at a time from file to file.
const COPY_STEP: u64 = 8 << 20;

/// The path of shard `number` (from 0) of `count`: `PREFIX-00001-of-00003.gguf`.
pub fn shard_path(prefix: &Path, number: u64, count: u64) -> PathBuf {
    let mut name = prefix.as_os_str().to_os_string();
    name.push(shard_suffix(number, count));
    name.into()
}

/// The prefix of a shard's path, or `None` when it does not end as the shard's name has to.
pub fn shard_prefix(path: &Path, number: u64, count: u64) -> Option<PathBuf> {
    let suffix = shard_suffix(number, count);
    let prefix = strip_suffix(path.file_name()?, &suffix)?;
    (!prefix.is_empty()).then(|| path.with_file_name(prefix))
}

#[cfg(unix)]
fn strip_suffix<'a>(name: &'a OsStr, suffix: &str) -> Option<&'a OsStr> {
    use std::os::unix::ffi::OsStrExt;
    name.as_bytes()
        .strip_suffix(suffix.as_bytes())
        .map(OsStr::from_bytes)
}

#[cfg(not(unix))]
fn strip_suffix<'a>(name: &'a OsStr, suffix: &str) -> Option<&'a OsStr> {
    name.to_str()?.strip_suffix(suffix).map(OsStr::new)
}

fn shard_suffix(number: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", number.saturating_add(1))
}

/// Upper bound of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of tensor data, padding included.
    Bytes(u64),
    /// Tensors.
    Tensors(u64),
}

/// Options for cutting a model into shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitOptions {
    /// Upper bound of each shard.
    pub limit: Limit,
    /// Leave the first shard without tensors, so that metadata can be changed without touching them.
    pub no_tensor_first_split: bool,
}

crate::setters! {
    SplitOptions {
        limit: Limit,
        no_tensor_first_split: bool,
    }
}

impl Default for SplitOptions {
    /// 128 tensors a shard, as gguf-split.
    fn default() -> Self {
        Self {
            limit: Limit::Tensors(128),
            no_tensor_first_split: false,
        }
    }
}

/// Plans the shards of a model: which tensors go where, and each file's metadata.
///
/// # Errors
/// [`Error::Unwritable`] when the limit is 0, there are more shards than a `u16` counts, or a tensor or
/// value cannot be written.
pub fn plan(
    metadata: &Metadata,
    tensors: impl IntoIterator<Item = (String, Vec<u64>, TensorType)>,
    options: &SplitOptions,
) -> Result<Vec<FilePlan>> {
    if matches!(options.limit, Limit::Bytes(0) | Limit::Tensors(0)) {
        return Err(Error::unwritable("shards", "a limit of 0", "a positive limit"));
    }
    // One plan over all tensors validates them and gives each one's padded size.
    let whole = FilePlan::new(
        metadata.clone(),
        tensors
            .into_iter()
            .map(|(name, shape, ty)| (name, ggml_shape(&shape), ty)),
    )?;
    let mut ends: Vec<u64> = whole.tensors.iter().skip(1).map(|t| t.offset).collect();
    ends.push(whole.data_len());

    let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
    if options.no_tensor_first_split {
        groups.push(Vec::new());
    }
    let mut held = 0;
    for (index, tensor) in whole.tensors.iter().enumerate() {
        let size = ends[index] - tensor.offset;
        let last = groups.len() - 1;
        let full = match options.limit {
            Limit::Bytes(limit) => !groups[last].is_empty() && size > limit.saturating_sub(held),
            Limit::Tensors(limit) => groups[last].len() as u64 == limit,
        };
        if full {
            groups.push(vec![index]);
            held = size;
        } else {
            groups[last].push(index);
            held += size;
        }
    }
    let count = u16::try_from(groups.len()).map_err(|_| {
        Error::unwritable(
            "shards",
            format!("{} shards", groups.len()),
            format!("at most {}", u16::MAX),
        )
    })?;
    let total = i32::try_from(whole.tensors.len()).map_err(|_| {
        Error::unwritable(
            "shards",
            format!("{} tensors", whole.tensors.len()),
            format!("at most {}", i32::MAX),
        )
    })?;

    let mut whole_tensors = whole.tensors.into_iter();
    (0..count)
        .zip(groups)
        .map(|(number, group)| {
            let mut shard = if number == 0 {
                metadata.clone()
            } else {
                Metadata::new()
            };
            if number > 0 && whole.alignment != DEFAULT_ALIGNMENT {
                shard.set(ALIGNMENT_KEY, whole.alignment as u32);
            }
            shard.set(NUMBER_KEY, number);
            shard.set(TENSORS_KEY, total);
            shard.set(COUNT_KEY, count);
            FilePlan::new(
                shard,
                whole_tensors
                    .by_ref()
                    .take(group.len())
                    .map(|t| (t.name, t.shape, t.ty)),
            )
        })
        .collect()
}

/// Plans the shards of an open model, of one or many files.
///
/// # Errors
/// As [`plan`].
pub fn plan_model(model: &GgufModel, options: &SplitOptions) -> Result<Vec<FilePlan>> {
    let tensors = model
        .tensors()
        .map(|t| (t.info.name.clone(), t.info.shape.clone(), t.info.ty));
    plan(model.metadata(), tensors, options)
}

/// Writes the shards that [`plan_model`] planned, as `PREFIX-00001-of-0000N.gguf` and so on. No name is
/// given before all shards are complete. `progress` gets the number of bytes copied since its last call.
///
/// # Errors
/// When reading or writing fails; no shard is then left behind, unless renaming one failed after others
/// had their names.
pub fn write(
    model: &GgufModel,
    plans: &[FilePlan],
    prefix: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<PathBuf>> {
    let mut source = 0;
    let mut complete: Vec<CompleteFile> = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        let path = shard_path(prefix, number as u64, plans.len() as u64);
        let writer = Writer::create(&path, plan)?;
        for target in 0..plan.tensors.len() {
            copy_tensor(model, source, &writer, target, progress)?;
            source += 1;
        }
        complete.push(writer.complete()?);
    }
    let paths = complete.iter().map(|s| s.path().to_path_buf()).collect();
    complete.into_iter().try_for_each(CompleteFile::publish)?;
    Ok(paths)
}

/// Copies a tensor as it is, a piece at a time.
pub(crate) fn copy_tensor(
    model: &GgufModel,
    source: usize,
    writer: &Writer,
    target: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let info = model.info(source);
    let size = info.size_bytes();
    let block = info.ty.block_bytes() as u64;
    let step = COPY_STEP / block * block;
    let mut start = 0;
    while start < size {
        let end = size.min(start + step);
        writer.write_at(target, start, &model.bytes(source, start..end)?)?;
        progress(end - start);
        start = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_named_as_llama_cpp_names_them() {
        assert_eq!(
            shard_path(Path::new("d/m"), 1, 12),
            Path::new("d/m-00002-of-00012.gguf")
        );
        let path = Path::new("d/m-00002-of-00012.gguf");
        assert_eq!(shard_prefix(path, 1, 12).unwrap(), Path::new("d/m"));
        assert_eq!(shard_prefix(path, 0, 12), None);
        assert_eq!(shard_prefix(Path::new("d/-00001-of-00001.gguf"), 0, 1), None);
    }
}
