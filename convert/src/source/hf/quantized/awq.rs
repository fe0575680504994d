//! AWQ: 4-bit integers packed along the outputs, eight a word in an order of their own.

use std::ops::Range;

use safetensors::Dtype;

use super::derived::Dequantize;
use super::stored::Stored;
use crate::Result;

/// The place in a word of each of eight consecutive outputs.
const PLACES: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// A linear layer of `outputs` by `inputs` weights in AutoAWQ's GEMM layout.
#[derive(Debug)]
pub(super) struct Awq {
    /// Words `[inputs, outputs / 8]`.
    qweight: Stored,
    /// Words `[groups, outputs / 8]`.
    qzeros: Stored,
    /// `[groups, outputs]`.
    scales: Stored,
    inputs: u64,
    outputs: u64,
    group_size: u64,
}

impl Awq {
    /// # Errors
    /// Shapes and dtypes that do not fit.
    pub(super) fn new(qweight: Stored, qzeros: Stored, scales: Stored) -> Result<Self> {
        let words = [Dtype::I32, Dtype::U32];
        qweight.expect_dtype(&words)?;
        let [inputs, packed] = qweight.matrix()?;
        let [groups, _] = scales.matrix()?;
        let outputs = packed
            .checked_mul(8)
            .ok_or_else(|| qweight.fail("expected fewer words, found more than can be counted"))?;
        scales.expect(&[Dtype::F16, Dtype::BF16, Dtype::F32], &[groups, outputs])?;
        qzeros.expect(&words, &[groups, packed])?;
        if !inputs.is_multiple_of(groups) {
            return Err(scales.fail(format!(
                "expected groups that divide {inputs} inputs, found {groups}"
            )));
        }
        Ok(Self {
            qweight,
            qzeros,
            scales,
            inputs,
            outputs,
            group_size: inputs / groups,
        })
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        vec![self.outputs, self.inputs]
    }
}

impl Dequantize for Awq {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let columns = rows.start / 8..rows.end.div_ceil(8);
        let wide = (columns.end - columns.start) as usize;
        let count = (rows.end - rows.start) as usize;
        let groups = self.inputs / self.group_size;
        let words = self.qweight.words(0..self.inputs, columns.clone())?;
        let packed_zeros = self.qzeros.words(0..groups, columns)?;
        let first = (rows.start % 8) as usize;
        let nibble = |words: &[u32], line: usize, row: usize| {
            let at = first + row;
            words[line * wide + at / 8] >> (4 * PLACES[at % 8]) & 15
        };
        for group in 0..groups {
            let scales = self
                .scales
                .floats(group * self.outputs + rows.start, count as u64)?;
            let inputs = (group * self.group_size) as usize..((group + 1) * self.group_size) as usize;
            for (row, scale) in scales.iter().enumerate() {
                let zero = nibble(&packed_zeros, group as usize, row) as i32;
                let out = &mut out[row * self.inputs as usize..][inputs.clone()];
                for (x, input) in out.iter_mut().zip(inputs.clone()) {
                    *x = (nibble(&words, input, row) as i32 - zero) as f32 * scale;
                }
            }
        }
        Ok(())
    }
}
