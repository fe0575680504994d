//! The reference runtime: tokenizer, forward pass and the measures built on them, from a GGUF alone.
#![forbid(unsafe_code)]

pub mod divergence;
mod error;

pub use error::{Error, Result};
