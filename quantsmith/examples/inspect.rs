//! Opens a GGUF file (with a first shard, all of them) and prints its keys and tensors; no weight is read.
//!
//! `cargo run --example inspect -- MODEL.gguf`

use std::path::Path;

use quantsmith::gguf::{GgufModel, Result};

/// One line for each tensor: name, type, shape with the row last, bytes.
pub fn tensors(path: &Path) -> Result<Vec<String>> {
    let model = GgufModel::open(path)?;
    Ok(model
        .tensors()
        .map(|tensor| {
            let info = tensor.info;
            let shape: Vec<u64> = info.shape.iter().rev().copied().collect();
            format!("{} {} {shape:?} {} bytes", info.name, info.ty, info.size_bytes())
        })
        .collect())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: inspect MODEL.gguf")?;
    let path = Path::new(&path);
    for (key, value) in GgufModel::open(path)?.metadata().iter() {
        println!("{key}: {} = {value}", value.value_type());
    }
    for line in tensors(path)? {
        println!("{line}");
    }
    Ok(())
}
