#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod arch;
mod completeness;
pub mod diff;
pub mod digest;
pub mod distribute;
mod error;
pub mod export;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hub;
pub mod importance;
mod json;
pub mod kind;
mod listed;
mod metadata;
mod path_json;
pub mod pipeline;
pub mod plan;
pub mod quantize;
pub mod recipe;
pub mod scratch;
pub mod shards;
pub mod source;
pub mod table;
pub mod tokenizer;
pub mod verify;

pub use error::{Error, Remedy, Result};

/// Release of llama.cpp whose library the bytes of files are compared with.
pub const LLAMA_CPP_RELEASE: &str = "v0.5.0";

pub use path_json::{path_json, serialize_optional_path, serialize_path};
