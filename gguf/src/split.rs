//! Shards: their names, cutting a model into them and merging them, as llama.cpp's gguf-split does.

use std::path::{Path, PathBuf};

/// Key of a shard's number, from 0 (u16).
pub const NUMBER_KEY: &str = "split.no";
/// Key of the number of shards (u16).
pub const COUNT_KEY: &str = "split.count";
/// Key of the number of tensors in all shards (i32).
pub const TENSORS_KEY: &str = "split.tensors.count";

/// The path of shard `number` (from 0) of `count`: `PREFIX-00001-of-00003.gguf`.
pub fn shard_path(prefix: &Path, number: u64, count: u64) -> PathBuf {
    let mut name = prefix.as_os_str().to_os_string();
    name.push(shard_suffix(number, count));
    name.into()
}

/// The prefix of a shard's path, or `None` when it does not end as the shard's name has to.
pub fn shard_prefix(path: &Path, number: u64, count: u64) -> Option<PathBuf> {
    let suffix = shard_suffix(number, count);
    let name = path.file_name()?.to_str()?;
    let prefix = name.strip_suffix(&suffix).filter(|p| !p.is_empty())?;
    Some(path.with_file_name(prefix))
}

fn shard_suffix(number: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", number.saturating_add(1))
}
