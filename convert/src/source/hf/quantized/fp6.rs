//! MXFP6 (E2M3) of compressed-tensors: four codes in three bytes, the first in the lowest bits, and a power of two
//! for 32 elements.

use std::ops::Range;

use safetensors::Dtype;

use super::super::element::e8m0_to_f32;
use super::derived::Dequantize;
use super::stored::Stored;
use crate::Result;

/// Elements that share a scale.
const GROUP: u64 = 32;

/// Bytes of a group.
const GROUP_BYTES: u64 = GROUP * 6 / 8;

/// The value of a code: a sign, two bits of exponent, three of mantissa.
fn e2m3(code: u32) -> f32 {
    let (exponent, mantissa) = (code >> 3 & 3, (code & 7) as f32);
    let magnitude = match exponent {
        0 => mantissa / 8.0,
        _ => (8.0 + mantissa) / 16.0 * (1u32 << exponent) as f32,
    };
    if code & 32 == 0 { magnitude } else { -magnitude }
}

/// Bytes `[rows, columns * 3 / 4]` and scales `[rows, columns / 32]`.
#[derive(Debug)]
pub(super) struct Mxfp6 {
    codes: Stored,
    scales: Stored,
}

impl Mxfp6 {
    /// Whether shapes are those of this format.
    pub(super) fn fits(codes: &[u64], scales: &[u64]) -> bool {
        let (Some((bytes, rows)), Some((groups, scale_rows))) = (codes.split_last(), scales.split_last())
        else {
            return false;
        };
        rows == scale_rows && groups.checked_mul(GROUP_BYTES) == Some(*bytes) && *bytes > 0
    }

    /// # Errors
    /// Other dtypes, or shapes that do not fit.
    pub(super) fn new(codes: Stored, scales: Stored) -> Result<Self> {
        codes.expect_dtype(&[Dtype::U8])?;
        scales.expect_dtype(&[Dtype::U8, Dtype::F8_E8M0])?;
        if !Self::fits(codes.shape(), scales.shape()) {
            return Err(scales.fail(format!(
                "shape {:?} does not fit codes of {:?}",
                scales.shape(),
                codes.shape()
            )));
        }
        Ok(Self { codes, scales })
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        let mut shape = self.scales.shape().to_vec();
        if let Some(groups) = shape.last_mut() {
            // No overflow: the codes are as many bytes, but for a factor below one.
            *groups = groups.saturating_mul(GROUP);
        }
        shape
    }
}

impl Dequantize for Mxfp6 {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let groups = self.scales.entry.row_len();
        let count = (rows.end - rows.start) * groups;
        let codes = self
            .codes
            .bytes(rows.start * groups * GROUP_BYTES, count * GROUP_BYTES)?;
        let scales = self.scales.bytes(rows.start * groups, count)?;
        for ((out, codes), scale) in out
            .chunks_exact_mut(GROUP as usize)
            .zip(codes.chunks_exact(GROUP_BYTES as usize))
            .zip(scales)
        {
            let scale = e8m0_to_f32(scale);
            for (four, &[a, b, c]) in out.as_chunks_mut::<4>().0.iter_mut().zip(codes.as_chunks().0) {
                let word = u32::from_le_bytes([a, b, c, 0]);
                for (i, x) in four.iter_mut().enumerate() {
                    *x = e2m3(word >> (6 * i)) * scale;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_values_of_e2m3() {
        let values: Vec<f32> = [0, 1, 7, 8, 15, 16, 24, 31, 33].into_iter().map(e2m3).collect();
        assert_eq!(values, [0.0, 0.125, 0.875, 1.0, 1.875, 2.0, 4.0, 7.5, -0.125]);
    }
}
