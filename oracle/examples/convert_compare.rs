//! `convert_compare MODEL_DIR STOCK.gguf OUTTYPE`: whether our conversion is the stock converter's.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use convert::source::hf::{HfOptions, HfSource, OutType};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, stock, outtype] = &args[..] else {
        bail!("usage: convert_compare MODEL_DIR STOCK.gguf OUTTYPE")
    };
    let outtype = OutType::from_name(outtype).context("no such outtype")?;
    let options = HfOptions::default().outtype(outtype);
    let source = HfSource::open(Path::new(model), &options)?;
    oracle::files::compare_with(&source, Path::new(stock))?;
    println!("equal: {stock}");
    Ok(())
}
