//! A tensor of the checkpoint as it is stored, for those who compute weights from it.

use std::sync::Arc;

use half::f16;
use safetensors::Dtype;

use super::super::element::Element;
use super::super::tensor_file::{Entry, TensorFile};
use crate::{Error, Result};

/// A stored tensor and the file that holds it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) file: Arc<dyn TensorFile>,
    pub(super) entry: Entry,
}

impl Stored {
    pub(super) fn shape(&self) -> &[u64] {
        &self.entry.shape
    }

    pub(super) fn fail(&self, message: impl std::fmt::Display) -> Error {
        Error::input(
            self.file.path(),
            format!("tensor '{}': {message}", self.entry.name),
        )
    }

    /// Checks dtype and shape.
    ///
    /// # Errors
    /// Names what was found and what was expected.
    pub(super) fn expect(&self, dtypes: &[Dtype], shape: &[u64]) -> Result<()> {
        self.expect_dtype(dtypes)?;
        if self.shape() != shape {
            return Err(self.fail(format!("expected {shape:?}, found the shape {:?}", self.shape())));
        }
        Ok(())
    }

    /// Checks the dtype alone.
    ///
    /// # Errors
    /// Names what was found and what was expected.
    pub(super) fn expect_dtype(&self, dtypes: &[Dtype]) -> Result<()> {
        if dtypes.contains(&self.entry.dtype) {
            return Ok(());
        }
        let names: Vec<String> = dtypes.iter().map(ToString::to_string).collect();
        Err(self.fail(format!(
            "expected the dtype {}, found {}",
            names.join(" or "),
            self.entry.dtype
        )))
    }

    /// Both dimensions of a matrix.
    ///
    /// # Errors
    /// Another number of dimensions.
    pub(super) fn matrix(&self) -> Result<[u64; 2]> {
        match self.shape() {
            &[rows, columns] if rows > 0 && columns > 0 => Ok([rows, columns]),
            other => Err(self.fail(format!("expected a matrix, found the shape {other:?}"))),
        }
    }

    /// Fills `out` from byte `at` of the tensor.
    ///
    /// # Errors
    /// A range outside of the tensor, or a failed read.
    pub(super) fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let end = at.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.entry.bytes) {
            return Err(self.fail(format!(
                "expected bytes {at} and {} more, found {}",
                out.len(),
                self.entry.bytes
            )));
        }
        self.file.read_at(self.entry.offset + at, out)
    }

    /// Bytes `at..at + length`.
    ///
    /// # Errors
    /// As [`Stored::read`].
    pub(super) fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        if at.checked_add(length).is_none_or(|end| end > self.entry.bytes) {
            return Err(self.fail(format!(
                "expected bytes {at} and {length} more, found {}",
                self.entry.bytes
            )));
        }
        let mut out = vec![0; length as usize];
        self.read(at, &mut out)?;
        Ok(out)
    }

    /// All bytes of a tensor that is small by nature.
    ///
    /// # Errors
    /// More than `limit` bytes, or a failed read.
    pub(super) fn small(&self, limit: u64) -> Result<Vec<u8>> {
        if self.entry.bytes > limit {
            return Err(self.fail(format!(
                "expected at most {limit} bytes, found {}",
                self.entry.bytes
            )));
        }
        self.bytes(0, self.entry.bytes)
    }

    /// Element type by which the elements are read as numbers; integers of one byte are taken as they are.
    pub(super) fn element(&self) -> Result<Element> {
        match self.entry.dtype {
            Dtype::I8 => Ok(Element::I8),
            Dtype::U8 => Ok(Element::U8),
            Dtype::F8_E8M0 => Ok(Element::F8E8M0),
            dtype => Element::from_dtype(dtype)
                .ok_or_else(|| self.fail(format!("expected a dtype of numbers, found {dtype}"))),
        }
    }

    /// Elements `at..at + count` as f32.
    ///
    /// # Errors
    /// A dtype that is no number, a range outside of the tensor, or a failed read.
    pub(super) fn floats(&self, at: u64, count: u64) -> Result<Vec<f32>> {
        let element = self.element()?;
        let width = element.bytes_of(1);
        let outside = || self.fail("expected a range inside of it, found another");
        let start = at.checked_mul(width).ok_or_else(outside)?;
        let length = count.checked_mul(width).ok_or_else(outside)?;
        let bytes = self.bytes(start, length)?;
        let mut out = vec![0.0; count as usize];
        element
            .decode(&bytes, &mut out)
            .map_err(|e| self.fail(e.to_string()))?;
        Ok(out)
    }

    /// The single number that the tensor is.
    ///
    /// # Errors
    /// More or fewer elements than one.
    pub(super) fn scalar(&self) -> Result<f32> {
        if self.entry.elements() != 1 {
            return Err(self.fail(format!(
                "expected one element, found the shape {:?}",
                self.shape()
            )));
        }
        Ok(self.floats(0, 1)?[0])
    }

    /// Columns `columns` of rows `rows` of a matrix of 32-bit words, row after row.
    ///
    /// # Errors
    /// A range outside of the tensor, or a failed read.
    pub(super) fn words(
        &self,
        rows: std::ops::Range<u64>,
        columns: std::ops::Range<u64>,
    ) -> Result<Vec<u32>> {
        let width = self.entry.row_len();
        let (wide, high) = (columns.end - columns.start, rows.end - rows.start);
        let total = wide.checked_mul(high).and_then(|n| n.checked_mul(4));
        let total = total.filter(|&n| n <= self.entry.bytes && columns.end <= width);
        let total = total.ok_or_else(|| self.fail("expected a range inside of it, found another"))?;
        let mut bytes = vec![0; total as usize];
        if wide == width {
            self.read(rows.start * width * 4, &mut bytes)?;
        } else if wide > 0 {
            for (row, out) in rows.zip(bytes.chunks_exact_mut(wide as usize * 4)) {
                self.read((row * width + columns.start) * 4, out)?;
            }
        }
        let words = bytes.as_chunks::<4>().0;
        Ok(words.iter().map(|b| u32::from_le_bytes(*b)).collect())
    }
}

/// Field `index` of fields of `bits` bits, packed from the lowest bit on in a run of words. A field that
/// crosses words goes on in the lowest bits of the next one.
pub(super) fn field(bits: u32, index: usize, word: impl Fn(usize) -> u32) -> u32 {
    let at = index * bits as usize;
    let (first, shift) = (at / 32, (at % 32) as u32);
    let mut value = word(first) >> shift;
    if shift + bits > 32 {
        value |= word(first + 1) << (32 - shift);
    }
    value & mask(bits)
}

/// The lowest `bits` bits.
pub(super) fn mask(bits: u32) -> u32 {
    u32::MAX >> (32 - bits.clamp(1, 32))
}

/// Rounds to the dtype in which a library hands out its weights.
pub(super) fn round_to(dtype: Dtype, values: &mut [f32]) {
    match dtype {
        Dtype::F16 => values.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        Dtype::BF16 => values
            .iter_mut()
            .for_each(|x| *x = half::bf16::from_f32(*x).to_f32()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_three_bits_cross_words() {
        let values: Vec<u32> = (0..32).map(|i| (i * 5 + 3) % 8).collect();
        let mut words = [0u32; 3];
        for (i, v) in values.iter().enumerate() {
            for bit in 0..3 {
                let at = i * 3 + bit;
                words[at / 32] |= (v >> bit & 1) << (at % 32);
            }
        }
        let read: Vec<u32> = (0..32).map(|i| field(3, i, |w| words[w])).collect();
        assert_eq!(read, values);
    }
}
