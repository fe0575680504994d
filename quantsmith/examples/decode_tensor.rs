//! Decodes one tensor of a GGUF file to f32, whatever its type.
//!
//! `cargo run --example decode_tensor -- MODEL.gguf blk.0.attn_q.weight`

use std::path::Path;

use quantsmith::gguf::GgufModel;

/// The weights, row after row.
pub fn weights(path: &Path, name: &str) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let model = GgufModel::open(path)?;
    Ok(quantsmith::decode_tensor(&model, name)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, name] = arguments.as_slice() else {
        return Err("usage: decode_tensor MODEL.gguf TENSOR".into());
    };
    let weights = weights(Path::new(path), name)?;
    let squares: f64 = weights.iter().map(|w| f64::from(*w).powi(2)).sum();
    println!(
        "{} weights, root mean square {}",
        weights.len(),
        (squares / weights.len() as f64).sqrt()
    );
    Ok(())
}
