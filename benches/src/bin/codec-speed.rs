//! Our codecs' speeds, quickly and alone: `codec-speed [--scalar] [--ggml] [--seconds S] [TYPE ...]`
//!
//! Prints millions of weights a second on one core: encoding with importance, without, decoding, and the search of
//! `--optimize block` with importance; with `--ggml` the ratios to stock llama.cpp's, measured in the same run (those of
//! the search to stock's encoding with importance).

use std::time::Duration;

use anyhow::{Context as _, Result};
use benches::codecs::{Samples, Speeds, ours_all, searched, theirs, works};
use gguf::TensorType;
use quants::Isa;

fn main() -> Result<()> {
    let mut isa = Isa::active();
    let mut limit = 0.2;
    let mut ggml = false;
    let mut types = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--scalar" => isa = Isa::Scalar,
            "--ggml" => ggml = true,
            "--seconds" => limit = args.next().context("--seconds S")?.parse()?,
            name => types.push(TensorType::from_name(name).with_context(|| format!("unknown type {name}"))?),
        }
    }
    if types.is_empty() {
        types = oracle::blocks::encodable().collect();
    }
    let limit = Duration::from_secs_f64(limit);
    let samples = Samples::default();
    let mut reference = match ggml {
        true => Some(oracle::blocks::Reference::start(
            &oracle::python().context("no references")?,
        )?),
        false => None,
    };
    println!("memory copy: {:.0} Mweights/s", benches::copy_speed(limit));
    println!(
        "{:8} {:^25} {:^25} {:^25} {:^25}",
        isa.name(),
        "with importance",
        "without",
        "decode",
        "--optimize block"
    );
    for ty in types {
        let our = ours_all(isa, ty, &samples, limit)?;
        let mut stock = Speeds::default();
        if let Some(reference) = &mut reference {
            for work in works(ty) {
                stock.set(work, theirs(reference, ty, work, &samples, limit)?.0);
            }
        }
        let cell = |ours: Option<f64>, stock: Option<f64>| match (ours, stock) {
            (None, _) => format!("{:25}", ""),
            (Some(ours), None) => format!("{ours:8.1}{:17}", ""),
            (Some(ours), Some(stock)) => format!("{ours:8.1} {stock:8.1} {:6.2}x", ours / stock),
        };
        println!(
            "{:8} {} {} {} {}",
            ty.name(),
            cell(our.with_importance, stock.with_importance),
            cell(our.without, stock.without),
            cell(our.decode, stock.decode),
            cell(searched(ty, &samples, limit)?, stock.with_importance)
        );
    }
    Ok(())
}
