#![doc = include_str!("../README.md")]
//!
//! This crate is the arguments, the messages and the progress on a terminal; [`cli::run`] is the command as a function.

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

mod allocation;
mod architectures;
mod args;
mod attestation;
mod base;
pub mod cli;
mod commands;
mod context;
mod demo;
mod exit;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hashing;
mod hub;
mod inputs;
mod interrupt;
mod log;
mod measurable;
mod optimization;
mod output;
mod progress;
mod quantizing;
mod rederive;
mod remedy;
mod threads;
mod version;
