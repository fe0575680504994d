//! Weights times scales: FP8 with one scale a tensor, a row or a block, and 8-bit integers.

use std::ops::Range;

use safetensors::Dtype;

use super::derived::Dequantize;
use super::stored::Stored;
use crate::Result;

/// A stored tensor whose elements are multiplied by those of a smaller one.
#[derive(Debug)]
pub(super) struct Scaled {
    weight: Stored,
    scale: Stored,
    zero_point: Option<Stored>,
    /// Elements of the weight in each dimension that share a scale.
    block: Vec<u64>,
    /// Elements of the scale from one to the next in each dimension.
    stride: Vec<u64>,
    divide: bool,
}

impl Scaled {
    /// Weights whose scales spread over blocks of `declared` elements in the last dimensions, or over as
    /// many as the shapes tell. A scale with fewer dimensions belongs to the first ones.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(super) fn new(
        weight: Stored,
        mut scale: Stored,
        zero_point: Option<Stored>,
        declared: &[u64],
    ) -> Result<Self> {
        // MXFP8 stores the exponents of its scales.
        if scale.entry.dtype == Dtype::U8 && matches!(weight.entry.dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2) {
            scale.entry.dtype = Dtype::F8_E8M0;
        }
        // Bytes are codes of some packed format, and bytes as scales exponents or codes of one: none is a number.
        if weight.entry.dtype == Dtype::U8 || scale.entry.dtype == Dtype::U8 || scale.entry.dtype == Dtype::I8
        {
            return Err(weight.fail(format!(
                "dtype {} of shape {:?} beside a scale of {} and {:?}: expected FP8 or I8 beside floats, or FP4 packed in \
                 bytes beside one scale for each 32 (MXFP4) or 16 (NVFP4) codes",
                weight.entry.dtype,
                weight.shape(),
                scale.entry.dtype,
                scale.shape()
            )));
        }
        let mut shape = scale.shape().to_vec();
        let dims = weight.shape().len();
        if shape.len() > dims && shape.iter().all(|&d| d == 1) {
            shape.truncate(dims);
        }
        shape.resize(dims.max(shape.len()), 1);
        let unfit = || {
            scale.fail(format!(
                "shape {:?} does not fit a weight of {:?} in blocks of {declared:?}",
                scale.shape(),
                weight.shape()
            ))
        };
        if shape.len() != dims || shape.contains(&0) {
            return Err(unfit());
        }
        let mut block = Vec::with_capacity(dims);
        for (dim, (&scales, &size)) in shape.iter().zip(weight.shape()).enumerate() {
            let declared = (dim + declared.len())
                .checked_sub(dims)
                .map(|i| declared[i])
                .filter(|&b| b > 0);
            block.push(match declared {
                _ if scales == 1 => size.max(1),
                Some(b) if size.div_ceil(b) == scales => b,
                _ if scales == size => 1,
                None if size.is_multiple_of(scales) => size / scales,
                _ => return Err(unfit()),
            });
        }
        let mut stride = vec![0; dims];
        let mut step = 1;
        for dim in (0..dims).rev() {
            stride[dim] = step;
            step *= shape[dim];
        }
        if let Some(zero) = &zero_point
            && zero.entry.elements() != scale.entry.elements()
        {
            return Err(zero.fail(format!(
                "expected the shape {:?} of the scales, found {:?}",
                scale.shape(),
                zero.shape()
            )));
        }
        scale.element()?;
        weight.element()?;
        Ok(Self {
            weight,
            scale,
            zero_point,
            block,
            stride,
            divide: false,
        })
    }

    /// Weights that are divided by the scales.
    pub(super) fn inverse(mut self) -> Self {
        self.divide = true;
        self
    }

    /// The first scale of a row.
    fn scale_of_row(&self, row: u64) -> u64 {
        let outer = self.block.len().saturating_sub(1);
        let (mut rest, mut at) = (row, 0);
        for dim in (0..outer).rev() {
            let size = self.weight.shape()[dim];
            at += rest % size / self.block[dim] * self.stride[dim];
            rest /= size;
        }
        at
    }
}

impl Dequantize for Scaled {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let row_len = self.weight.entry.row_len();
        let block = self.block.last().copied().unwrap_or(1) as usize;
        let scales = row_len.div_ceil(block as u64);
        let element = self.weight.element()?;
        let width = element.bytes_of(1);
        let bytes = self.weight.bytes(
            rows.start * row_len * width,
            (rows.end - rows.start) * row_len * width,
        )?;
        element
            .decode(&bytes, out)
            .map_err(|e| self.weight.fail(e.to_string()))?;
        let mut known: Option<(u64, Vec<f32>, Vec<f32>)> = None;
        for (row, out) in rows.zip(out.chunks_exact_mut(row_len as usize)) {
            let at = self.scale_of_row(row);
            if known.as_ref().is_none_or(|(k, ..)| *k != at) {
                let zeros = match &self.zero_point {
                    Some(zero) => zero.floats(at, scales)?,
                    None => Vec::new(),
                };
                known = Some((at, self.scale.floats(at, scales)?, zeros));
            }
            let Some((_, factors, zeros)) = &known else {
                continue;
            };
            for (i, run) in out.chunks_mut(block).enumerate() {
                let (factor, zero) = (factors[i], zeros.get(i).copied().unwrap_or(0.0));
                for x in run {
                    *x = if self.divide {
                        (*x - zero) / factor
                    } else {
                        (*x - zero) * factor
                    };
                }
            }
        }
        Ok(())
    }
}
