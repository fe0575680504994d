//! `architectures OUT_DIR [NAME ...]`: our conversion and forward pass against what
//! `py/architectures.py` put there. One row for each case; exit status 1 when one differs.

use std::path::Path;

use anyhow::{Context as _, Result};
use convert::source::Source as _;
use convert::source::hf::{HfOptions, HfSource, OutType};
use oracle::architectures::has_dense_modules;
use oracle::forward;

fn main() -> Result<()> {
    let (dir, names) = oracle::cases("usage: architectures OUT_DIR [NAME ...]")?;
    let mut failed = 0;
    println!("{:<22} {:<36} converted  logits", "case", "class");
    for name in &names {
        let folder = dir.join(name);
        let class = forward::class(&folder.join("model")).unwrap_or_else(|e| format!("({e})"));
        let converted = converted(&folder);
        let distance = forward::distance(&folder, &folder.join("model"));
        let ids = ids(&folder);
        let (equal, far) = (converted.is_ok() && ids.is_ok(), distance.is_err());
        let shown = match &distance {
            Ok(None) => "-".to_owned(),
            Ok(Some(d)) => format!("{d:.1e}"),
            Err(_) => "FAR".to_owned(),
        };
        let word = if equal { "equal" } else { "DIFFERS" };
        println!("{name:<22} {class:<36} {word:<10} {shown}");
        if let Ok(apart @ 1..) = &converted {
            println!("    {apart} decay rates are a unit in the last place off");
        }
        for error in [converted.err(), ids.err(), distance.err()].into_iter().flatten() {
            println!("    {error:#}");
        }
        failed += usize::from(!equal || far);
    }
    println!("{} cases, {failed} with differences", names.len());
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn open(folder: &Path, outtype: OutType, mmproj: bool) -> Result<HfSource> {
    let options = HfOptions::default()
        .outtype(outtype)
        .mmproj(mmproj)
        .sentence_modules(has_dense_modules(&folder.join("model")))
        // The cases of py/architecture_fixtures.py name their pre-tokenizer.
        .pre_tokenizer(std::fs::read_to_string(folder.join("pre")).ok())
        .target_model_dir(Some(folder.join("target")).filter(|target| target.is_dir()));
    Ok(HfSource::open(&folder.join("model"), &options)?)
}

/// Keys, values, tensors and bytes in both output types.
fn converted(folder: &Path) -> Result<usize> {
    let mut apart = 0;
    for (outtype, mmproj, file) in [
        (OutType::Auto, false, "stock.gguf"),
        (OutType::F32, false, "stock-f32.gguf"),
        (OutType::Q8_0, false, "stock-q8_0.gguf"),
        (OutType::Auto, true, "mmproj.gguf"),
        (OutType::F32, true, "mmproj-f32.gguf"),
    ] {
        // A quick run makes only the second, and few models have an image encoder.
        if file != "stock-f32.gguf" && !folder.join(file).is_file() {
            continue;
        }
        apart +=
            oracle::files::compare_with(&open(folder, outtype, mmproj)?, &folder.join(file)).context(file)?;
    }
    Ok(apart)
}

/// Whether our tokenizer gives the ids in the folder, where there are some.
fn ids(folder: &Path) -> Result<()> {
    if !folder.join("ids").is_file() {
        return Ok(());
    }
    let source = open(folder, OutType::F32, false)?;
    oracle::vocab::same_ids(source.metadata(), folder)?;
    Ok(())
}
