//! From a GGUF's keys and tensors to checked hyperparameters and weights.

mod block_matrix;
mod keys;
mod loader;

pub(crate) use block_matrix::{BlockMatrix, TILE_BYTES};
pub(crate) use keys::{Keys, PerLayer};
pub(crate) use loader::Loader;
