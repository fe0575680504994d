//! The programs that are measured.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Our command, built beside this one.
pub(crate) fn quantsmith() -> Result<Command> {
    let path = std::env::current_exe()?.with_file_name("quantsmith");
    if !path.exists() {
        bail!("{} is missing: cargo build --release", path.display());
    }
    Ok(Command::new(path))
}

/// Answer of stock's library, called from Python.
pub(crate) fn stock(args: &[&str]) -> Result<String> {
    oracle::python().context("no references")?.run("stock.py", args)
}
