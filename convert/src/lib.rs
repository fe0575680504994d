//! From model sources to GGUF files: sources, recipes, plans and the pipeline.

#![forbid(unsafe_code)]

mod error;
pub mod recipe;
pub mod source;
pub mod tokenizer;

pub use error::{Error, Result};
