//! The wide comparison of blocks with ggml's: every type, kind of row and importance.
//!
//! `cargo run --release -p quantsmith-oracle --bin block-sweep -- [--weights N] [--seed N] [--huge] [TYPE ...]`
//!
//! Compares at least N weights (default: ten million) of each type, prints a line for each and ends
//! with status 1 when anything differed.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use gguf::TensorType;
use oracle::blocks::{Reference, Tally, compare, compare_random_blocks, encodable, row_len};
use oracle::rows::{HUGE, IMPORTANCE, Kind, WEIGHTS};

/// Weights that travel to the references at once.
const CHUNK: usize = 1 << 19;

fn main() -> Result<ExitCode> {
    let mut weights = 10_000_000;
    let mut seed = 1;
    let mut types = Vec::new();
    let mut kinds = WEIGHTS.to_vec();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--weights" => weights = args.next().context("--weights N")?.parse()?,
            "--seed" => seed = args.next().context("--seed N")?.parse()?,
            "--huge" => kinds = vec![HUGE],
            name => types.push(TensorType::from_name(name).context("unknown type")?),
        }
    }
    if types.is_empty() {
        types = encodable().collect();
    }
    let python = oracle::python().context("no references")?;
    println!(
        "{:8} {:>10} {:>10} {:>10}  differing  encode ours / stock, decode ours / stock (Mweights/s)",
        "type", "weights", "libgguf", "numpy"
    );
    let mut clean = true;
    for ty in types {
        let (tally, failures) = sweep(&python, ty, &kinds, weights, seed)?;
        let speed = |seconds: f64| tally.weights as f64 / seconds / 1e6;
        println!(
            "{:8} {:>10} {:>10} {:>10}  {:>9}  {:8.1} / {:<8.1} {:8.1} / {:<8.1}",
            ty.name(),
            tally.weights,
            tally.libgguf,
            tally.numpy,
            failures.len(),
            speed(tally.seconds),
            speed(tally.stock_seconds),
            speed(tally.decode_seconds),
            speed(tally.stock_decode_seconds),
        );
        for failure in &failures {
            eprintln!("{failure}");
        }
        clean &= failures.is_empty();
    }
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Compares one type; returns what agreed and what did not.
fn sweep(
    python: &oracle::Python,
    ty: TensorType,
    kinds: &[Kind],
    weights: usize,
    seed: u64,
) -> Result<(Tally, Vec<String>)> {
    let mut reference = Reference::start(python)?;
    let without = (!quants::requires_importance(ty)).then_some(None);
    let modes: Vec<_> = without.into_iter().chain(IMPORTANCE.iter().map(Some)).collect();
    let share = weights.div_ceil(kinds.len() * modes.len());
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for kind in kinds {
        for &importance in &modes {
            let mut left = share;
            for seed in seed.. {
                let rows = left.min(CHUNK).div_ceil(row_len(ty));
                match compare(&mut reference, ty, rows, kind, importance, seed) {
                    Ok(compared) => tally += compared,
                    Err(e) => {
                        failures.push(format!("{e:#}"));
                        // The reference may have died of it.
                        reference = Reference::start(python)?;
                    }
                }
                left = left.saturating_sub(rows * row_len(ty));
                if left == 0 {
                    break;
                }
            }
        }
    }
    if let Err(e) = compare_random_blocks(&mut reference, ty, 2000, seed) {
        failures.push(format!("{e:#}"));
    }
    Ok((tally, failures))
}
