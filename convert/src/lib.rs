//! From model sources to GGUF files: sources, recipes, plans and the pipeline.

#![forbid(unsafe_code)]

pub mod arch;
mod error;
mod json;
mod metadata;
pub mod recipe;
pub mod source;
pub mod tokenizer;

pub use error::{Error, Result};
