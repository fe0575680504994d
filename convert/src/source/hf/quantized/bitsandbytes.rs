//! bitsandbytes: 4-bit codes into a table of 16 values (NF4, FP4), and 8-bit rows.

use std::ops::Range;

use safetensors::Dtype;

use super::derived::Dequantize;
use super::stored::{Stored, round_to};
use crate::Result;

/// Longest description of a tensor's quantization.
const MAX_STATE_BYTES: u64 = 1 << 16;

/// Factor of an 8-bit value beside its row's maximum: 1/127, as the library rounds it.
const INT8_STEP: f32 = 7.874_016e-3;

/// A flat run of codes, two a byte with the first in the upper half, in blocks that share a maximum.
#[derive(Debug)]
pub(super) struct FourBit {
    codes: Stored,
    table: [f32; 16],
    absmax: Absmax,
    block: u64,
    shape: Vec<u64>,
    dtype: Dtype,
}

/// The blocks' maxima: stored, or themselves codes of blocks.
#[derive(Debug)]
enum Absmax {
    Plain(Stored),
    Nested {
        codes: Stored,
        table: Vec<f32>,
        absmax: Stored,
        block: u64,
        offset: f32,
    },
}

/// The stored tensors of a 4-bit weight.
pub(super) struct Parts {
    pub(super) codes: Stored,
    pub(super) absmax: Stored,
    pub(super) quant_map: Stored,
    pub(super) nested_absmax: Option<Stored>,
    pub(super) nested_quant_map: Option<Stored>,
    pub(super) state: Stored,
}

impl FourBit {
    /// # Errors
    /// A description that is malformed, or stored tensors that do not fit it.
    pub(super) fn new(parts: Parts) -> Result<Self> {
        let state = &parts.state;
        state.expect_dtype(&[Dtype::U8])?;
        let text = state.small(MAX_STATE_BYTES)?;
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|e| state.fail(format!("expected JSON, found {e}")))?;
        let number = |key: &str| {
            value
                .get(key)
                .and_then(serde_json::Value::as_u64)
                .filter(|&n| n > 0)
                .ok_or_else(|| state.fail(format!("expected a positive whole number {key:?}, found none")))
        };
        let block = number("blocksize")?;
        let shape = value
            .get("shape")
            .and_then(serde_json::Value::as_array)
            .and_then(|dims| {
                dims.iter()
                    .map(serde_json::Value::as_u64)
                    .collect::<Option<Vec<_>>>()
            })
            .ok_or_else(|| state.fail("expected a \"shape\", found none"))?;
        let dtype = match value.get("dtype").and_then(serde_json::Value::as_str) {
            Some("bfloat16") => Dtype::BF16,
            Some("float16") => Dtype::F16,
            _ => Dtype::F32,
        };
        let elements = shape
            .iter()
            .try_fold(1u64, |n, &d| n.checked_mul(d))
            .filter(|&n| n > 0 && n.div_ceil(2) == parts.codes.entry.bytes)
            .ok_or_else(|| {
                parts.codes.fail(format!(
                    "expected the bytes of {shape:?} of 4 bits each, as its description says, found {}",
                    parts.codes.entry.bytes
                ))
            })?;
        let blocks = elements.div_ceil(block);
        let table: [f32; 16] = table(&parts.quant_map, 16)?
            .try_into()
            .map_err(|_| parts.quant_map.fail("expected 16 values, found others"))?;
        let absmax = match (parts.nested_absmax, parts.nested_quant_map) {
            (None, None) => {
                parts.absmax.expect(&[Dtype::F32], &[blocks])?;
                Absmax::Plain(parts.absmax)
            }
            (Some(absmax), Some(map)) => {
                parts.absmax.expect(&[Dtype::U8], &[blocks])?;
                let block = number("nested_blocksize")?;
                absmax.expect(&[Dtype::F32], &[blocks.div_ceil(block)])?;
                let offset = value.get("nested_offset").and_then(serde_json::Value::as_f64);
                Absmax::Nested {
                    codes: parts.absmax,
                    table: self::table(&map, 256)?,
                    absmax,
                    block,
                    offset: offset
                        .ok_or_else(|| state.fail("expected a number \"nested_offset\", found none"))?
                        as f32,
                }
            }
            _ => {
                return Err(parts
                    .absmax
                    .fail("expected both nested_absmax and nested_quant_map or neither, found one"));
            }
        };
        Ok(Self {
            codes: parts.codes,
            table,
            absmax,
            block,
            shape,
            dtype,
        })
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        self.shape.clone()
    }
}

/// A table of `length` f32 values.
fn table(stored: &Stored, length: u64) -> Result<Vec<f32>> {
    stored.expect(&[Dtype::F32], &[length])?;
    stored.floats(0, length)
}

impl Absmax {
    /// The maxima of `count` blocks.
    fn of(&self, first: u64, count: u64) -> Result<Vec<f32>> {
        match self {
            Self::Plain(stored) => stored.floats(first, count),
            Self::Nested {
                codes,
                table,
                absmax,
                block,
                offset,
            } => {
                let bytes = codes.bytes(first, count)?;
                let outer = first / block;
                let maxima = absmax.floats(outer, (first + count).div_ceil(*block) - outer)?;
                Ok(bytes
                    .iter()
                    .zip(first..)
                    .map(|(&code, at)| {
                        table[usize::from(code)] * maxima[(at / block - outer) as usize] + offset
                    })
                    .collect())
            }
        }
    }
}

impl Dequantize for FourBit {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let row_len = self.shape.last().copied().unwrap_or(1);
        let elements = rows.start * row_len..rows.end * row_len;
        if elements.is_empty() {
            return Ok(());
        }
        let first_byte = elements.start / 2;
        let bytes = self
            .codes
            .bytes(first_byte, elements.end.div_ceil(2) - first_byte)?;
        let first_block = elements.start / self.block;
        let absmax = self
            .absmax
            .of(first_block, elements.end.div_ceil(self.block) - first_block)?;
        for (x, at) in out.iter_mut().zip(elements) {
            let byte = bytes[(at / 2 - first_byte) as usize];
            let code = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
            *x = self.table[usize::from(code)] * absmax[(at / self.block - first_block) as usize];
        }
        round_to(self.dtype, out);
        Ok(())
    }
}

/// 8-bit rows, each with its largest magnitude.
#[derive(Debug)]
pub(super) struct EightBit {
    weight: Stored,
    maxima: Stored,
}

impl EightBit {
    /// `weight` is `[rows, columns]`, `maxima` (named SCB) has one for each row.
    ///
    /// # Errors
    /// Other dtypes and shapes.
    pub(super) fn new(weight: Stored, maxima: Stored) -> Result<Self> {
        weight.expect_dtype(&[Dtype::I8])?;
        let [rows, _] = weight.matrix()?;
        maxima.expect(&[Dtype::F32], &[rows])?;
        Ok(Self { weight, maxima })
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        self.weight.shape().to_vec()
    }
}

impl Dequantize for EightBit {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let columns = self.weight.entry.row_len();
        let maxima = self.maxima.floats(rows.start, rows.end - rows.start)?;
        let bytes = self
            .weight
            .bytes(rows.start * columns, (rows.end - rows.start) * columns)?;
        let columns = columns as usize;
        for ((out, bytes), max) in out
            .chunks_exact_mut(columns)
            .zip(bytes.chunks_exact(columns))
            .zip(maxima)
        {
            for (x, &b) in out.iter_mut().zip(bytes) {
                *x = f32::from(b as i8) * max * INT8_STEP;
            }
        }
        Ok(())
    }
}
