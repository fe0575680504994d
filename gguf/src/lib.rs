//! GGUF files: the type table, metadata, reading, planning, writing, splitting and merging.

mod types;
mod value;

pub use types::{TYPES, TensorType, TypeInfo};
pub use value::{Array, GgufString, Metadata, Value, ValueType};

mod error;
pub use error::{Error, Result};
