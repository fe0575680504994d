#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use gguf;

#[cfg(feature = "convert")]
pub use convert;
#[cfg(feature = "hub")]
pub use hub;
#[cfg(feature = "imatrix")]
pub use imatrix;
#[cfg(feature = "optimize")]
pub use optimize;
#[cfg(feature = "quants")]
pub use quants;
#[cfg(feature = "reference")]
pub use reference;

#[cfg(feature = "quants")]
mod tensor;
#[cfg(feature = "quants")]
pub use tensor::{DecodeError, decode_tensor};
