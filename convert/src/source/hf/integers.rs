//! Stored integers.

use std::ops::Range;

use safetensors::Dtype;

use super::parts::Parts;
use crate::{Error, Result};

/// A stored table of integers.
#[derive(Clone, Debug)]
pub(super) struct Integers {
    /// The file and the position in it.
    place: (usize, u64),
    wide: bool,
    name: String,
}

impl Integers {
    /// `None` for numbers that are no integers.
    pub(super) fn new(place: (usize, u64), dtype: Dtype, name: &str) -> Option<Self> {
        let wide = match dtype {
            Dtype::I64 => true,
            Dtype::I32 => false,
            _ => return None,
        };
        let name = name.to_owned();
        Some(Self { place, wide, name })
    }

    /// An error about the tensor.
    pub(super) fn fail(&self, parts: &Parts, message: &str) -> Error {
        Error::input(
            parts.files[self.place.0].path(),
            format!("tensor '{}': {message}", self.name),
        )
    }

    /// A range of elements.
    ///
    /// # Errors
    /// A failed read.
    pub(super) fn read(&self, parts: &Parts, elements: &Range<u64>) -> Result<Vec<i64>> {
        let file = &parts.files[self.place.0];
        let width = if self.wide { 8 } else { 4 };
        let mut bytes = vec![0u8; (elements.end - elements.start) as usize * width];
        file.read_at(self.place.1 + elements.start * width as u64, &mut bytes)?;
        let integer = |b: &[u8]| match b.try_into() {
            Ok(b) => i64::from_le_bytes(b),
            Err(_) => b.try_into().map_or(0, |b| i64::from(i32::from_le_bytes(b))),
        };
        Ok(bytes.chunks_exact(width).map(integer).collect())
    }

    /// The same as the output has them.
    ///
    /// # Errors
    /// A number that is no i32, or a failed read.
    pub(super) fn read_as_i32(&self, parts: &Parts, elements: &Range<u64>) -> Result<Vec<i32>> {
        let narrow = |n: i64| {
            i32::try_from(n).map_err(|_| self.fail(parts, &format!("expected a 32-bit integer, found {n}")))
        };
        self.read(parts, elements)?.into_iter().map(narrow).collect()
    }
}
