//! GPTQ: integers packed along the inputs, scales and zero points for each group of inputs.

use std::ops::Range;

use safetensors::Dtype;

use super::derived::Dequantize;
use super::stored::{Stored, field, mask};
use crate::Result;

/// The widths that GPTQ packs.
const WIDTHS: [u32; 4] = [2, 3, 4, 8];

/// Most inputs a matrix may have; their groups are held in memory.
const MAX_INPUTS: u64 = 1 << 24;

/// A linear layer of `outputs` by `inputs` weights, as AutoGPTQ and GPTQModel store it.
#[derive(Debug)]
pub(super) struct Gptq {
    /// Words `[inputs * bits / 32, outputs]`.
    qweight: Stored,
    /// Words `[groups, outputs * bits / 32]`.
    qzeros: Stored,
    /// `[groups, outputs]`.
    scales: Stored,
    /// The group of each input.
    groups: Vec<u32>,
    bits: u32,
    outputs: u64,
    /// Offset of a stored zero point: 1 in files of the first version of the format.
    zero_offset: i32,
}

/// The four stored tensors of a layer.
pub(super) struct Parts {
    pub(super) qweight: Stored,
    pub(super) qzeros: Stored,
    pub(super) scales: Stored,
    pub(super) g_idx: Option<Stored>,
}

impl Gptq {
    /// `bits` and `group_size` are those of the configuration; without `g_idx`, input `i` is in group
    /// `i / group_size`, or all are in one.
    ///
    /// # Errors
    /// Shapes and dtypes that do not fit, groups that do not exist.
    pub(super) fn new(
        parts: Parts,
        bits: Option<u32>,
        group_size: Option<u64>,
        zero_offset: i32,
    ) -> Result<Self> {
        let Parts {
            qweight,
            qzeros,
            scales,
            g_idx,
        } = parts;
        let words = [Dtype::I32, Dtype::U32];
        qweight.expect_dtype(&words)?;
        let [packed, outputs] = qweight.matrix()?;
        let [groups, _] = scales.matrix()?;
        // Layers may differ from the configuration; the group index knows the number of inputs.
        let by_index = g_idx.as_ref().and_then(|g| {
            let inputs = g.entry.elements();
            WIDTHS
                .into_iter()
                .find(|&b| inputs.checked_mul(b.into()) == packed.checked_mul(32))
        });
        let bits = by_index
            .or(bits)
            .filter(|b| WIDTHS.contains(b))
            .ok_or_else(|| qweight.fail("expected 2, 3, 4 or 8 bits, found another number"))?;
        let inputs = packed
            .checked_mul(32)
            .filter(|n| n.is_multiple_of(bits.into()))
            .map(|n| n / u64::from(bits))
            .filter(|&n| n <= MAX_INPUTS)
            .ok_or_else(|| {
                qweight.fail(format!(
                    "expected rows of words that hold {bits}-bit fields, found {packed}"
                ))
            })?;
        let zero_words = outputs
            .checked_mul(bits.into())
            .filter(|n| n.is_multiple_of(32))
            .map(|n| n / 32)
            .ok_or_else(|| {
                qweight.fail(format!(
                    "expected whole words of {bits} bits, found {outputs} outputs"
                ))
            })?;
        scales.expect(&[Dtype::F16, Dtype::BF16, Dtype::F32], &[groups, outputs])?;
        qzeros.expect(&words, &[groups, zero_words])?;
        let groups_of = match g_idx {
            Some(index) => {
                index.expect(&[Dtype::I32], &[inputs])?;
                let bytes = index.bytes(0, index.entry.bytes)?;
                let numbers = bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b));
                // Negative numbers count from the end, as torch indexes.
                let wrapped = numbers.map(|n| {
                    if n < 0 {
                        i64::from(n) + groups as i64
                    } else {
                        n.into()
                    }
                });
                let checked: Option<Vec<u32>> = wrapped
                    .map(|n| u32::try_from(n).ok().filter(|&n| u64::from(n) < groups))
                    .collect();
                checked.ok_or_else(|| index.fail(format!("expected groups below {groups}, found another")))?
            }
            None => {
                let size = group_size.filter(|&n| n > 0).unwrap_or(inputs);
                if inputs.div_ceil(size) != groups {
                    return Err(scales.fail(format!(
                        "expected groups of {size} for {inputs} inputs, found {groups} groups"
                    )));
                }
                (0..inputs).map(|i| (i / size) as u32).collect()
            }
        };
        Ok(Self {
            qweight,
            qzeros,
            scales,
            groups: groups_of,
            bits,
            outputs,
            zero_offset,
        })
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        vec![self.outputs, self.groups.len() as u64]
    }
}

impl Dequantize for Gptq {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let inputs = self.groups.len();
        let wide = (rows.end - rows.start) as usize;
        let packed = self.qweight.shape()[0];
        let words = self.qweight.words(0..packed, rows.clone())?;
        let groups = self.scales.shape()[0];
        let bits = u64::from(self.bits);
        // Zero points of the rows are in these words.
        let zero_words = rows.start * bits / 32..(rows.end * bits).div_ceil(32);
        let zero_width = (zero_words.end - zero_words.start) as usize;
        let packed_zeros = self.qzeros.words(0..groups, zero_words.clone())?;
        let first_bit = (rows.start * bits - zero_words.start * 32) as usize;
        let mut scales = Vec::with_capacity(groups as usize * wide);
        let mut zeros = Vec::with_capacity(groups as usize * wide);
        for group in 0..groups {
            scales.extend(
                self.scales
                    .floats(group * self.outputs + rows.start, wide as u64)?,
            );
            let words = &packed_zeros[group as usize * zero_width..][..zero_width];
            for row in 0..wide {
                let at = first_bit + row * self.bits as usize;
                let (word, shift) = (at / 32, (at % 32) as u32);
                let mut zero = words[word] >> shift;
                if shift + self.bits > 32 {
                    zero |= words[word + 1] << (32 - shift);
                }
                zeros.push((zero & mask(self.bits)) as i32 + self.zero_offset);
            }
        }
        for (row, out) in out.chunks_exact_mut(inputs).enumerate() {
            for (input, x) in out.iter_mut().enumerate() {
                let weight = field(self.bits, input, |word| words[word * wide + row]) as i32;
                let at = self.groups[input] as usize * wide + row;
                *x = scales[at] * (weight - zeros[at]) as f32;
            }
        }
        Ok(())
    }
}
