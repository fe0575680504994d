//! Writes a GGUF file from nothing: keys, a tensor of f32 and one of blocks.
//!
//! `cargo run --example write_gguf -- OUT.gguf`

use std::path::Path;

use quantsmith::gguf::{FilePlan, Metadata, TensorType, Writer};
use quantsmith::quants;

/// Writes the file. The plan fixes every offset first; `Writer` fills it in any order, from any thread, and gives it
/// its name when every byte is there.
pub fn write(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "example");
    metadata.set("example.block_count", 1u32);
    metadata.set("example.words", vec!["a", "b"]);

    // Shapes begin with the row.
    let (row, rows) = (256, 4);
    let shape = vec![row as u64, rows as u64];
    let plan = FilePlan::new(
        metadata,
        [
            ("plain.weight".to_owned(), shape.clone(), TensorType::F32),
            ("blocks.weight".to_owned(), shape, TensorType::Q4_K),
        ],
    )?;
    let weights: Vec<f32> = (0..row * rows).map(|i| (i as f32 / 100.0).cos()).collect();

    let writer = Writer::create(path, &plan)?;
    for (index, tensor) in plan.tensors.iter().enumerate() {
        let mut bytes = vec![0; usize::try_from(tensor.size_bytes())?];
        quants::encode(tensor.ty, &weights, row, None, &mut bytes)?;
        writer.write_at(index, 0, &bytes)?;
    }
    writer.finish()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: write_gguf OUT.gguf")?;
    write(Path::new(&path))
}
