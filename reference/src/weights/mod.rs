//! From a GGUF's keys and tensors to checked hyperparameters and weights.

mod ahead;
mod block_matrix;
mod directory;
mod keys;
mod loader;
mod shortfall;

pub(crate) use ahead::reading_ahead;
pub(crate) use block_matrix::{BlockMatrix, Other, Replaced, TILE_BYTES, Weights};
pub(crate) use directory::{ANY, Declared, Directory};
pub(crate) use keys::{Keys, PerLayer};
pub(crate) use loader::Loader;
pub use shortfall::{Kind, Shortfall};

/// Most elements of an attention head. Published models have 576 at most; tables of that size are made before a
/// tensor is looked at.
pub(crate) const MAX_HEAD: usize = 1 << 16;
