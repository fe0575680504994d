//! Architectures in files (docs/arch-file.md): what [`print()`] writes of a built-in one and [`read()`] reads again gives the
//! same bytes.

mod document;
mod print;
mod read;

pub(crate) use print::{names, print};
pub(crate) use read::read;
