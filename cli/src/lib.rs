//! The quantsmith toolkit as one library: every member crate under one name.
//!
//! Embedders who want one part take the member crate instead.

#![forbid(unsafe_code)]

// In place of the standard macros, which panic when the reader has gone away.
macro_rules! println {
    () => { $crate::output::line(format_args!("")) };
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}
macro_rules! eprintln {
    () => { $crate::output::message(format_args!("")) };
    ($($text:tt)*) => { $crate::output::message(format_args!($($text)*)) };
}

pub use {convert, gguf, imatrix, optimize, quants, reference};

mod architectures;
mod base;
pub mod calibrate;
mod chunks;
#[doc(hidden)]
pub mod cli;
mod commands;
mod context;
mod demo;
#[doc(hidden)]
pub mod fuzzing;
mod inputs;
mod interrupt;
mod optimization;
mod output;
mod progress;
mod rounding;
mod threads;
