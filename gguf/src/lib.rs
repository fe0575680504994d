#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod setters;
mod types;
#[cfg(feature = "files")]
mod value;

pub use types::{TYPES, TensorType, TypeInfo};
#[cfg(feature = "files")]
pub use value::{Array, GgufString, Metadata, Value, ValueType};

#[cfg(feature = "files")]
mod cursor;
#[cfg(feature = "files")]
pub mod edit;
#[cfg(feature = "files")]
mod elsewhere;
#[cfg(feature = "files")]
mod encode;
#[cfg(feature = "files")]
mod endian;
#[cfg(feature = "files")]
mod error;
#[cfg(feature = "files")]
mod file;
#[cfg(feature = "files")]
pub mod foreign;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "files")]
mod header;
#[cfg(feature = "files")]
mod inputs;
#[cfg(feature = "files")]
pub mod keys;
#[cfg(feature = "files")]
pub mod limits;
#[cfg(feature = "files")]
mod map;
#[cfg(feature = "files")]
mod model;
#[cfg(feature = "files")]
mod plan;
#[cfg(feature = "files")]
mod positional;
#[cfg(feature = "files")]
pub mod split;
#[cfg(feature = "files")]
mod staging;
#[cfg(feature = "files")]
mod stamp;
#[cfg(feature = "files")]
mod temporary;
#[cfg(feature = "files")]
mod tensor;
#[cfg(feature = "files")]
mod writer;

#[cfg(feature = "files")]
pub use elsewhere::{ForeignTensor, ForeignType};
#[cfg(feature = "files")]
pub use endian::Endian;
#[cfg(feature = "files")]
pub use error::{Error, Result};
#[cfg(feature = "files")]
pub use file::{Backing, GgufFile, OpenOptions};
#[cfg(feature = "files")]
pub use header::Header;
#[cfg(feature = "files")]
pub use inputs::{Inputs, files_of_directory};
#[cfg(feature = "files")]
pub use model::{GgufModel, TensorRef};
#[cfg(feature = "files")]
pub use plan::FilePlan;
#[cfg(feature = "files")]
pub use staging::{WholeFile, check_not_input, check_space, check_target};
#[cfg(feature = "files")]
pub use stamp::Stamp;
#[cfg(feature = "files")]
pub use temporary::{Temporary, remove_all};
#[cfg(feature = "files")]
pub use tensor::{TensorInfo, ggml_shape};
#[cfg(feature = "files")]
pub use writer::{CompleteFile, Ranges, Writer};
