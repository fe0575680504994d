//! BitNet: four ternary weights a byte, those of a quarter of the rows each.

use std::ops::Range;

use safetensors::Dtype;

use super::derived::Dequantize;
use super::stored::Stored;
use crate::Result;

/// Bytes `[rows / 4, columns]`; bits 2q and 2q+1 are row `q * rows / 4 + r`, plus one. The scale divides.
#[derive(Debug)]
pub(super) struct BitNet {
    weight: Stored,
    scale: f32,
}

impl BitNet {
    /// # Errors
    /// Other dtypes and shapes.
    pub(super) fn new(weight: Stored, scale: &Stored) -> Result<Self> {
        weight.expect_dtype(&[Dtype::U8, Dtype::I8])?;
        weight.matrix()?;
        let scale = scale.scalar()?;
        Ok(Self { weight, scale })
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        let [rows, columns] = [self.weight.shape()[0], self.weight.shape()[1]];
        vec![rows.saturating_mul(4), columns]
    }
}

impl Dequantize for BitNet {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let (quarter, columns) = (self.weight.shape()[0], self.weight.shape()[1]);
        for (row, out) in rows.zip(out.chunks_exact_mut(columns as usize)) {
            let bytes = self.weight.bytes(row % quarter * columns, columns)?;
            let shift = 2 * (row / quarter);
            for (x, b) in out.iter_mut().zip(bytes) {
                *x = (f32::from(b >> shift & 3) - 1.0) / self.scale;
            }
        }
        Ok(())
    }
}
