//! The type table: every tensor type a GGUF file can name, in one place.

use std::fmt;

/// A tensor element or block type. The discriminant is the id stored in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
#[allow(
    missing_docs,
    non_camel_case_types,
    reason = "the variants are the field's own names"
)]
#[non_exhaustive]
pub enum TensorType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q8_1 = 9,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    Q8_K = 15,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    I8 = 24,
    I16 = 25,
    I32 = 26,
    I64 = 27,
    F64 = 28,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
    NVFP4 = 40,
    Q1_0 = 41,
    Q2_0 = 42,
}

/// One row of the type table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TypeInfo {
    /// The type this row describes.
    pub ty: TensorType,
    /// The name as ggml prints it (lower case, with `_K` in upper case).
    pub name: &'static str,
    /// Weights in a block (1 for plain element types).
    pub block_len: usize,
    /// Bytes in a block.
    pub block_bytes: usize,
    /// Whether blocks have to be decoded by a codec (ggml's `is_quantized`).
    pub quantized: bool,
}

const fn row(
    ty: TensorType,
    name: &'static str,
    block_len: usize,
    block_bytes: usize,
    quantized: bool,
) -> TypeInfo {
    TypeInfo {
        ty,
        name,
        block_len,
        block_bytes,
        quantized,
    }
}

/// The type table, in order of id. Sizes are those of ggml's block structures.
pub const TYPES: &[TypeInfo] = &[
    row(TensorType::F32, "f32", 1, 4, false),
    row(TensorType::F16, "f16", 1, 2, false),
    row(TensorType::Q4_0, "q4_0", 32, 18, true),
    row(TensorType::Q4_1, "q4_1", 32, 20, true),
    row(TensorType::Q5_0, "q5_0", 32, 22, true),
    row(TensorType::Q5_1, "q5_1", 32, 24, true),
    row(TensorType::Q8_0, "q8_0", 32, 34, true),
    row(TensorType::Q8_1, "q8_1", 32, 36, true),
    row(TensorType::Q2_K, "q2_K", 256, 84, true),
    row(TensorType::Q3_K, "q3_K", 256, 110, true),
    row(TensorType::Q4_K, "q4_K", 256, 144, true),
    row(TensorType::Q5_K, "q5_K", 256, 176, true),
    row(TensorType::Q6_K, "q6_K", 256, 210, true),
    row(TensorType::Q8_K, "q8_K", 256, 292, true),
    row(TensorType::IQ2_XXS, "iq2_xxs", 256, 66, true),
    row(TensorType::IQ2_XS, "iq2_xs", 256, 74, true),
    row(TensorType::IQ3_XXS, "iq3_xxs", 256, 98, true),
    row(TensorType::IQ1_S, "iq1_s", 256, 50, true),
    row(TensorType::IQ4_NL, "iq4_nl", 32, 18, true),
    row(TensorType::IQ3_S, "iq3_s", 256, 110, true),
    row(TensorType::IQ2_S, "iq2_s", 256, 82, true),
    row(TensorType::IQ4_XS, "iq4_xs", 256, 136, true),
    row(TensorType::I8, "i8", 1, 1, false),
    row(TensorType::I16, "i16", 1, 2, false),
    row(TensorType::I32, "i32", 1, 4, false),
    row(TensorType::I64, "i64", 1, 8, false),
    row(TensorType::F64, "f64", 1, 8, false),
    row(TensorType::IQ1_M, "iq1_m", 256, 56, true),
    row(TensorType::BF16, "bf16", 1, 2, false),
    row(TensorType::TQ1_0, "tq1_0", 256, 54, true),
    row(TensorType::TQ2_0, "tq2_0", 256, 66, true),
    row(TensorType::MXFP4, "mxfp4", 32, 17, true),
    row(TensorType::NVFP4, "nvfp4", 64, 36, true),
    row(TensorType::Q1_0, "q1_0", 128, 18, true),
    row(TensorType::Q2_0, "q2_0", 64, 18, true),
];

impl TensorType {
    /// The type stored as `id` in a file, or `None` for an unknown or retired id.
    pub fn from_id(id: u32) -> Option<Self> {
        TYPES.iter().find(|t| t.ty as u32 == id).map(|t| t.ty)
    }

    /// The type of this name; case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        TYPES
            .iter()
            .find(|t| t.name.eq_ignore_ascii_case(name))
            .map(|t| t.ty)
    }

    /// The id stored in a file.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// This type's row of the table.
    pub fn info(self) -> &'static TypeInfo {
        // The table is total over the enum: `every_type_has_a_row` proves it.
        TYPES.iter().find(|t| t.ty == self).unwrap_or(&TYPES[0])
    }

    /// The name as ggml prints it.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Weights in a block.
    pub fn block_len(self) -> usize {
        self.info().block_len
    }

    /// Bytes in a block.
    pub fn block_bytes(self) -> usize {
        self.info().block_bytes
    }

    /// Whether blocks have to be decoded by a codec.
    pub fn is_quantized(self) -> bool {
        self.info().quantized
    }

    /// Bytes of a row of `len` weights; `None` when `len` is not a multiple of the block or the
    /// size does not fit in 64 bits.
    pub fn row_bytes(self, len: u64) -> Option<u64> {
        let info = self.info();
        let block = info.block_len as u64;
        if !len.is_multiple_of(block) {
            return None;
        }
        (len / block).checked_mul(info.block_bytes as u64)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_row() {
        for id in 0..256 {
            if let Some(ty) = TensorType::from_id(id) {
                assert_eq!(ty.id(), id);
                assert_eq!(ty.info().ty, ty);
                assert_eq!(TensorType::from_name(ty.name()), Some(ty));
            }
        }
        assert_eq!(TYPES.len(), 35);
        assert!(TYPES.windows(2).all(|w| w[0].ty < w[1].ty));
    }

    #[test]
    fn row_bytes_refuses_partial_blocks() {
        assert_eq!(TensorType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(TensorType::Q4_K.row_bytes(500), None);
        assert_eq!(TensorType::F64.row_bytes(u64::MAX), None);
    }
}
