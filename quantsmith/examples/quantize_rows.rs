//! Quantizes rows of f32 in memory and decodes them again.
//!
//! `cargo run --example quantize_rows`

use quantsmith::gguf::TensorType;
use quantsmith::quants;

/// Blocks of the rows. `importance`, where given, holds one weight for each column.
pub fn blocks(
    rows: &[f32],
    row_len: usize,
    ty: TensorType,
    importance: Option<&[f32]>,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let row_bytes = ty.row_bytes(row_len as u64).ok_or_else(|| {
        format!(
            "rows of {row_len} weights, expected a multiple of {}",
            ty.block_len()
        )
    })?;
    let mut blocks = vec![0; rows.len() / row_len * usize::try_from(row_bytes)?];
    quants::encode(ty, rows, row_len, importance, &mut blocks)?;
    Ok(blocks)
}

/// Root mean square error of a type on these rows.
pub fn error(rows: &[f32], row_len: usize, ty: TensorType) -> Result<f64, Box<dyn std::error::Error>> {
    // Uniform importance serves the types that cannot do without.
    let importance = vec![1.0; row_len];
    let blocks = blocks(
        rows,
        row_len,
        ty,
        quants::requires_importance(ty).then_some(&importance[..]),
    )?;
    let mut decoded = vec![0f32; rows.len()];
    quants::decode(ty, &blocks, &mut decoded)?;
    let squares = rows.iter().zip(&decoded).map(|(a, b)| f64::from(a - b).powi(2));
    Ok((squares.sum::<f64>() / rows.len() as f64).sqrt())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let row_len = 1024;
    let rows: Vec<f32> = (0..4 * row_len).map(|i| (i as f32 * 0.37).sin()).collect();
    for name in ["Q8_0", "Q6_K", "Q4_K", "IQ4_XS", "Q2_K", "IQ2_XXS"] {
        let ty = TensorType::from_name(name).ok_or("a type of the table")?;
        println!("{name}: root mean square error {:.5}", error(&rows, row_len, ty)?);
    }
    Ok(())
}
