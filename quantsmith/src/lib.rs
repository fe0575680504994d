//! The quantsmith toolkit as one library: its crates under one name, each behind a feature.
//!
//! | module | feature | subject |
//! |---|---|---|
//! | `gguf` | always | the container: types, metadata, reading, planning, writing, shards |
//! | `quants` | `quants` | block codecs of all tensor types |
//! | `imatrix` | `imatrix` | importance matrices |
//! | `reference` | `reference` | tokenizer, forward pass, perplexity, KL divergence, collecting importance |
//! | `convert` | `convert` (default) | model directories, recipes, plans, the pipeline, verification |
//! | `optimize` | `optimize` | encoders that learn from the layers' inputs |
//!
//! A feature brings those of the crates that it stands on. Whoever wants one part alone takes its crate
//! (`quantsmith-gguf` and so on). The command is the package `quantsmith-cli`.

#![forbid(unsafe_code)]

pub use gguf;

#[cfg(feature = "convert")]
pub use convert;
#[cfg(feature = "imatrix")]
pub use imatrix;
#[cfg(feature = "optimize")]
pub use optimize;
#[cfg(feature = "quants")]
pub use quants;
#[cfg(feature = "reference")]
pub use reference;
