//! Groups of arguments that commands share, resolved to values of the libraries.

pub(crate) mod architecture;
pub(crate) mod cache;
pub(crate) mod chunks;
pub(crate) mod evaluation;
pub(crate) mod importance;
pub(crate) mod memory;
pub(crate) mod rounding;
pub(crate) mod shards;
pub(crate) mod size;
pub(crate) mod target;
pub(crate) mod types;
pub(crate) mod unplanned;

use std::path::Path;

use anyhow::Context as _;

/// A path as a plan holds it.
pub(crate) fn utf8(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.with_context(|| format!("{}: not UTF-8, so a plan cannot hold it", path.display()))
}
