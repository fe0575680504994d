//! From model sources to GGUF files: sources, recipes, plans and the pipeline.

#![forbid(unsafe_code)]

pub mod arch;
mod error;
pub mod importance;
mod json;
mod metadata;
pub mod pipeline;
pub mod plan;
pub mod quantize;
pub mod recipe;
pub mod source;
pub mod table;
pub mod tokenizer;

pub use error::{Error, Result};
