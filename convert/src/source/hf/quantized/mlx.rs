//! MLX's quantization of linear layers and embeddings: fields packed from the lowest bit on in a run of 32-bit words,
//! and for each group of inputs a scale and the value of the field 0.

use std::ops::Range;

use safetensors::Dtype;

use super::derived::Dequantize;
use super::stored::{Stored, field};
use crate::Result;

/// The widths that MLX packs.
const WIDTHS: [u64; 6] = [2, 3, 4, 5, 6, 8];

/// The types of scales and of what is added.
const FLOATS: [Dtype; 3] = [Dtype::F16, Dtype::BF16, Dtype::F32];

/// Fields times scales, plus biases.
#[derive(Debug)]
pub(super) struct Affine {
    /// Words `[outputs, inputs * bits / 32]`.
    words: Stored,
    /// `[outputs, groups]`.
    scales: Stored,
    biases: Stored,
    bits: u32,
    group: u64,
    inputs: u64,
}

impl Affine {
    /// # Errors
    /// Shapes and dtypes that do not fit the numbers of the configuration.
    pub(super) fn new(words: Stored, scales: Stored, biases: Stored, bits: u64, group: u64) -> Result<Self> {
        words.expect_dtype(&[Dtype::U32, Dtype::I32])?;
        let [outputs, packed] = words.matrix()?;
        let inputs = packed
            .checked_mul(32)
            .filter(|n| WIDTHS.contains(&bits) && n.is_multiple_of(bits))
            .map(|n| n / bits);
        let groups = inputs
            .filter(|n| group > 0 && n.is_multiple_of(group))
            .map(|n| n / group);
        let (Some(inputs), Some(groups)) = (inputs, groups) else {
            return Err(words.fail(format!(
                "rows of {packed} words do not hold whole groups of {group} fields of {bits} bits (2, 3, 4, 5, 6 and 8 \
                 are known)"
            )));
        };
        for floats in [&scales, &biases] {
            floats.expect(&FLOATS, &[outputs, groups])?;
        }
        Ok(Self {
            words,
            scales,
            biases,
            bits: bits as u32,
            group,
            inputs,
        })
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        vec![self.words.shape()[0], self.inputs]
    }
}

impl Dequantize for Affine {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let packed = self.words.shape()[1];
        let groups = self.inputs / self.group;
        let count = rows.end - rows.start;
        let words = self.words.words(rows.clone(), 0..packed)?;
        let scales = self.scales.floats(rows.start * groups, count * groups)?;
        let biases = self.biases.floats(rows.start * groups, count * groups)?;
        let (packed, groups) = (packed as usize, groups as usize);
        for (row, out) in out.chunks_exact_mut(self.inputs as usize).enumerate() {
            let words = &words[row * packed..(row + 1) * packed];
            for (input, x) in out.iter_mut().enumerate() {
                let at = row * groups + input / self.group as usize;
                // The fields of the last word end with it: none goes on past the row.
                let code = field(self.bits, input, |word| words[word]);
                *x = code as f32 * scales[at] + biases[at];
            }
        }
        Ok(())
    }
}

/// A stored tensor of words as the bytes that they are made of.
pub(super) fn as_bytes(mut words: Stored, dtype: Dtype) -> Result<Stored> {
    words.expect_dtype(&[Dtype::U32, Dtype::I32])?;
    words.matrix()?;
    if let Some(last) = words.entry.shape.last_mut() {
        // The bytes are there, so that their number fits.
        *last *= 4;
    }
    words.entry.dtype = dtype;
    Ok(words)
}

/// A stored tensor of bytes as numbers of 8 bits.
pub(super) fn read_as(mut bytes: Stored, dtype: Dtype) -> Result<Stored> {
    bytes.expect_dtype(&[Dtype::U8])?;
    bytes.entry.dtype = dtype;
    Ok(bytes)
}
