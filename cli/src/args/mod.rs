//! Groups of arguments that commands share, resolved to values of the libraries.

pub(crate) mod architecture;
pub(crate) mod cache;
pub(crate) mod chunks;
pub(crate) mod importance;
pub(crate) mod memory;
pub(crate) mod overrides;
pub(crate) mod plan;
pub(crate) mod rounding;
pub(crate) mod shards;
pub(crate) mod size;
pub(crate) mod target;
pub(crate) mod types;
