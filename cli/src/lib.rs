//! The quantsmith toolkit as one library: every member crate under one name.
//!
//! Embedders who want one part take the member crate instead.

#![forbid(unsafe_code)]

pub use {convert, gguf, imatrix, quants, reference};

mod base;
mod calibrate;
#[doc(hidden)]
pub mod cli;
mod commands;
mod demo;
mod output;
mod progress;
mod threads;
