//! A tensor's entry in the header.

use crate::TensorType;
use crate::limits::{MAX_BYTES, MAX_DIMS};

/// Name, shape, type and place of a tensor.
///
/// Values that come from this crate (a file that was read, or a [`crate::FilePlan`]) are validated:
/// no dimension is 0, rows are whole blocks, and no size overflows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name.
    pub name: String,
    /// At most 4 dimensions, innermost (`ne[0]`, the row length) first, as stored. A file may store
    /// no dimension at all for a single element.
    pub shape: Vec<u64>,
    /// The type of the elements or blocks.
    pub ty: TensorType,
    /// Bytes from the start of the data section to the tensor's first byte.
    pub offset: u64,
}

impl TensorInfo {
    /// Weights in a row: `ne[0]`.
    pub fn row_len(&self) -> u64 {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Number of rows: the product of all dimensions but the first.
    pub fn rows(&self) -> u64 {
        self.shape.iter().skip(1).fold(1, |n, &d| n.saturating_mul(d))
    }

    /// Number of weights.
    pub fn elements(&self) -> u64 {
        self.row_len().saturating_mul(self.rows())
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> u64 {
        // A shape of partial blocks cannot come from this crate; a hand-made one gets 0.
        self.ty.row_bytes(self.row_len()).unwrap_or(0)
    }

    /// Bytes of the tensor, without padding.
    pub fn size_bytes(&self) -> u64 {
        self.row_bytes().saturating_mul(self.rows())
    }
}

/// The shape as ggml writes it: outermost dimensions of 1 dropped, at least one dimension kept.
///
/// Files made by the Python writer keep such dimensions; whatever ggml rewrites (quantizing,
/// splitting, merging) loses them.
pub fn ggml_shape(shape: &[u64]) -> Vec<u64> {
    let kept = shape.iter().rposition(|&d| d != 1).map_or(1, |last| last + 1);
    match shape.get(..kept) {
        Some(s) => s.to_vec(),
        None => vec![1],
    }
}

/// A shape that breaks a rule, and the rule.
#[derive(Debug)]
pub(crate) struct BadShape {
    pub(crate) found: String,
    pub(crate) expected: String,
}

/// Checks a shape and returns the tensor's size in bytes.
pub(crate) fn checked_size(shape: &[u64], ty: TensorType) -> Result<u64, BadShape> {
    let row_len = shape.first().copied().unwrap_or(1);
    let mut outer = shape.iter().skip(1);
    let bytes = outer.try_fold(ty.row_bytes(row_len).unwrap_or(u64::MAX), |n, &d| {
        n.checked_mul(d)
    });
    checked_shape(shape, ty.name(), ty.block_len() as u64, bytes)
}

/// Checks a shape of a type of this name, whose blocks have `block` weights; `bytes` is the tensor's size.
pub(crate) fn checked_shape(
    shape: &[u64],
    ty: &str,
    block: u64,
    bytes: Option<u64>,
) -> Result<u64, BadShape> {
    let bad = |expected: String| BadShape {
        found: format!("shape {shape:?} of type {ty}"),
        expected,
    };
    if shape.len() > MAX_DIMS as usize {
        return Err(bad(format!("at most {MAX_DIMS} dimensions")));
    }
    if shape.contains(&0) {
        return Err(bad("dimensions of at least 1".into()));
    }
    let elements = shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= MAX_BYTES);
    if elements.is_none() {
        return Err(bad(format!("at most {MAX_BYTES} elements")));
    }
    let row_len = shape.first().copied().unwrap_or(1);
    if !row_len.is_multiple_of(block) {
        return Err(bad(format!("rows of whole blocks of {block}")));
    }
    bytes
        .filter(|&n| n <= MAX_BYTES)
        .ok_or_else(|| bad(format!("at most {MAX_BYTES} bytes")))
}

/// `n` rounded up to a multiple of `alignment` (a power of two), or `None` past 2^63.
pub(crate) fn pad(n: u64, alignment: u64) -> Option<u64> {
    n.checked_next_multiple_of(alignment).filter(|&n| n <= MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ggml_drops_outer_dimensions_of_one() {
        assert_eq!(ggml_shape(&[4, 1, 3, 1]), [4, 1, 3]);
        assert_eq!(ggml_shape(&[4, 1, 1, 1]), [4]);
        assert_eq!(ggml_shape(&[1, 1]), [1]);
        assert_eq!(ggml_shape(&[]), [1]);
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(checked_size(&[512, 3], TensorType::Q4_K).unwrap(), 864);
        assert_eq!(checked_size(&[], TensorType::F32).unwrap(), 4);
        assert!(checked_size(&[0], TensorType::F32).is_err());
        assert!(checked_size(&[1 << 32, 1 << 32], TensorType::F32).is_err());
        assert!(checked_size(&[1 << 62], TensorType::F32).is_err());
        assert!(checked_size(&[255], TensorType::Q4_K).is_err());
        assert!(checked_size(&[1, 1, 1, 1, 1], TensorType::F32).is_err());
    }
}
