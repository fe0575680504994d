//! GGUF files: the type table, metadata, reading, planning, writing, splitting and merging.
//!
//! [`GgufModel`] opens a model of one or many files; [`FilePlan`] fixes every byte offset of a new
//! file before any work is done, and [`Writer`] fills it from any number of threads and publishes it
//! under its name only when it is complete. [`split`] cuts models into shards and merges them.
//!
//! Every number in a file is treated as hostile: see [`limits`] for the bounds.

#![deny(unsafe_code)]

mod types;
mod value;

pub use types::{TYPES, TensorType, TypeInfo};
pub use value::{Array, GgufString, Metadata, Value, ValueType};

mod cursor;
pub mod edit;
mod encode;
mod endian;
mod error;
mod file;
pub mod foreign;
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod inputs;
pub mod keys;
pub mod limits;
mod map;
mod model;
mod plan;
mod positional;
pub mod split;
mod staging;
mod stamp;
mod temporary;
mod tensor;
mod writer;

pub use endian::Endian;
pub use error::{Error, Result};
pub use file::{Backing, GgufFile, OpenOptions};
pub use header::Header;
pub use inputs::Inputs;
pub use model::{GgufModel, TensorRef};
pub use plan::FilePlan;
pub use staging::{WholeFile, check_not_input, check_space, check_target};
pub use stamp::Stamp;
pub use temporary::{Temporary, remove_all};
pub use tensor::{TensorInfo, ggml_shape};
pub use writer::{CompleteFile, Writer};
