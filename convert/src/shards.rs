//! Planned files cut into shards.

use std::path::Path;

use gguf::split::{COUNT_KEY, Limit, NUMBER_KEY, SplitOptions, TENSORS_KEY, shard_path};
use gguf::{Metadata, Value};

use crate::plan::{Edit, OutputPlan};
use crate::{Error, Result};

/// Cut of a file into shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shards {
    /// As llama-gguf-split cuts a finished file: sizes include padding, and one shard is a shard too.
    GgufSplit(SplitOptions),
    /// As the stock converter does: sizes are those of the tensors alone, and what fits into one file is one.
    Converter {
        /// Upper bound of a file; `None` for no limit.
        limit: Option<Limit>,
        /// Leave the first file without tensors.
        no_tensor_first_split: bool,
    },
}

/// The plans of a file's shards, named `PREFIX-00001-of-0000N.gguf` after the file without its extension; or
/// the file as it was, where the stock converter would leave it whole.
///
/// # Errors
/// A limit of 0, too many shards, or shards that a GGUF file cannot hold.
pub fn cut<'a>(plan: OutputPlan<'a>, shards: &Shards) -> Result<Vec<OutputPlan<'a>>> {
    let (groups, order) = match shards {
        Shards::GgufSplit(options) => (
            by_padded_size(&plan, options)?,
            [NUMBER_KEY, TENSORS_KEY, COUNT_KEY],
        ),
        Shards::Converter {
            limit,
            no_tensor_first_split,
        } => {
            let groups = by_size(&plan, *limit, *no_tensor_first_split);
            if groups.len() == 1 {
                return Ok(vec![plan]);
            }
            (groups, [NUMBER_KEY, COUNT_KEY, TENSORS_KEY])
        }
    };
    let too_many = |what: &str, n: usize| Error::Request(format!("{}: {n} {what}", plan.path.display()));
    let count = u16::try_from(groups.len()).map_err(|_| too_many("shards", groups.len()))?;
    let tensors =
        i32::try_from(plan.contents().len()).map_err(|_| too_many("tensors", plan.contents().len()))?;
    let prefix = without_extension(&plan.path);
    let mut contents = plan.contents().iter().cloned();
    (0..count)
        .zip(groups)
        .map(|(number, length)| {
            let mut edits = if number == 0 {
                plan.edits().to_vec()
            } else {
                let alignment = plan.metadata_value("general.alignment");
                let keep = alignment.map(|a| Edit::Set("general.alignment".to_owned(), a));
                std::iter::once(Edit::Clear).chain(keep).collect()
            };
            for key in order {
                let value = match key {
                    NUMBER_KEY => Value::U16(number),
                    COUNT_KEY => Value::U16(count),
                    _ => Value::I32(tensors),
                };
                edits.push(Edit::Set(key.to_owned(), value));
            }
            let path = shard_path(&prefix, number.into(), count.into());
            let contents = contents.by_ref().take(length).collect();
            let shard = OutputPlan::new(path, plan.base(), edits, contents)?;
            Ok(shard.with_endian(plan.endian()))
        })
        .collect()
}

/// The path that shards are named after.
fn without_extension(path: &Path) -> std::path::PathBuf {
    match path.extension() {
        Some(extension) if extension == "gguf" => path.with_extension(""),
        _ => path.to_path_buf(),
    }
}

fn by_padded_size(plan: &OutputPlan<'_>, options: &SplitOptions) -> Result<Vec<usize>> {
    let mut metadata = Metadata::new();
    if let Some(alignment) = plan.metadata_value("general.alignment") {
        metadata.set("general.alignment", alignment);
    }
    let tensors = plan
        .tensors()
        .iter()
        .map(|t| (t.name.clone(), t.shape.clone(), t.ty));
    let shards = gguf::split::plan(&metadata, tensors, options)?;
    Ok(shards.iter().map(|s| s.tensors.len()).collect())
}

fn by_size(plan: &OutputPlan<'_>, limit: Option<Limit>, no_tensor_first_split: bool) -> Vec<usize> {
    let mut groups = vec![0];
    if no_tensor_first_split {
        groups.push(0);
    }
    let mut held = 0u64;
    for tensor in plan.tensors() {
        let size = tensor.size_bytes();
        let last = groups.last().copied().unwrap_or(0);
        let full = last > 0
            && match limit {
                None => false,
                Some(Limit::Tensors(most)) => last as u64 >= most,
                Some(Limit::Bytes(most)) => held.saturating_add(size) > most,
            };
        if full {
            groups.push(0);
            held = 0;
        }
        if let Some(last) = groups.last_mut() {
            *last += 1;
        }
        held += size;
    }
    groups
}
