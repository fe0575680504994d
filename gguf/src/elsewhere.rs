//! Tensor types that other programs write and this crate does not read: their names and sizes, so that a file can be
//! listed and the type be named.

/// A type of another program, or one that llama.cpp has given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignType {
    /// The id stored in a file.
    pub id: u32,
    /// The name as that program prints it.
    pub name: &'static str,
    /// Whose type it is.
    pub origin: &'static str,
    size: Size,
}

/// How many bytes a tensor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// Rows of blocks (weights, bytes), each row after some bytes of its own.
    Rows(u64, u64, u64),
    /// Four weights a byte over the whole tensor, and 32 bytes more.
    Quarters,
}

/// A tensor of such a type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignTensor {
    /// The name.
    pub name: String,
    /// At most 4 dimensions, innermost first.
    pub shape: Vec<u64>,
    /// Its type.
    pub ty: ForeignType,
    /// Bytes from the start of the data section to the tensor's first byte.
    pub offset: u64,
    /// Bytes of the tensor, without padding.
    pub size_bytes: u64,
}

impl ForeignTensor {
    /// Number of weights.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }
}

const IK: &str = "ik_llama.cpp";
const EARLIER: &str = "an earlier llama.cpp";

const fn row(id: u32, name: &'static str, block: u64, bytes: u64, of_row: u64) -> ForeignType {
    ForeignType {
        id,
        name,
        origin: IK,
        size: Size::Rows(block, bytes, of_row),
    }
}

const fn retired(id: u32, name: &'static str) -> ForeignType {
    ForeignType {
        id,
        name,
        origin: EARLIER,
        size: Size::Rows(32, 18, 0),
    }
}

/// The types, in order of id.
const TYPES: &[ForeignType] = &[
    retired(31, "q4_0_4x4"),
    retired(32, "q4_0_4x8"),
    retired(33, "q4_0_8x8"),
    ForeignType {
        id: 36,
        name: "i2_s",
        origin: IK,
        size: Size::Quarters,
    },
    row(97, "q8_0_x4", 32, 34, 0),
    row(98, "q8_1_x4", 32, 36, 0),
    row(99, "q8_2_x4", 32, 36, 0),
    row(133, "q6_0", 32, 26, 0),
    row(134, "iq1_bn", 64, 13, 2),
    row(135, "iq2_bn", 64, 16, 4),
    row(136, "q8_K64", 64, 68, 0),
    row(137, "iq2_k", 256, 76, 0),
    row(138, "iq3_k", 256, 110, 0),
    row(139, "iq4_k", 256, 144, 0),
    row(140, "iq5_k", 256, 176, 0),
    row(141, "iq6_k", 256, 212, 0),
    row(144, "iq4_ks", 256, 136, 4),
    row(145, "iq2_ks", 256, 70, 2),
    row(146, "iq4_kss", 256, 128, 4),
    row(147, "q8_K16", 64, 64, 20),
    row(148, "q8_K32", 256, 296, 0),
    row(149, "q8_KR8", 256, 296, 0),
    row(150, "q8_K128", 128, 140, 0),
    row(151, "q8_KV", 32, 32, 8),
    row(152, "iq5_ks", 256, 168, 4),
    row(153, "iq2_kt", 256, 68, 4),
    row(154, "iq3_kt", 256, 100, 4),
    row(155, "iq4_kt", 256, 128, 4),
    row(156, "iq3_ks", 256, 102, 2),
    row(157, "iq2_kl", 256, 86, 2),
    row(158, "iq1_kt", 256, 56, 4),
    row(202, "q4_0_r8", 32, 18, 0),
    row(206, "q5_0_r4", 32, 22, 0),
    row(208, "q8_0_r8", 32, 34, 0),
    row(210, "q2_k_r4", 256, 84, 0),
    row(211, "q3_k_r4", 256, 110, 0),
    row(212, "q4_k_r4", 256, 144, 0),
    row(213, "q5_k_r4", 256, 176, 0),
    row(214, "q6_k_r4", 256, 210, 0),
    row(216, "iq2_xxs_r4", 256, 66, 0),
    row(217, "iq2_xs_r4", 256, 74, 0),
    row(218, "iq3_xxs_r4", 256, 98, 0),
    row(219, "iq1_s_r4", 32, 6, 2),
    row(220, "iq4_nl_r4", 32, 18, 0),
    row(221, "iq3_s_r4", 256, 110, 0),
    row(222, "iq2_s_r4", 256, 82, 0),
    row(223, "iq4_xs_r8", 256, 136, 0),
    row(229, "iq1_m_r4", 32, 7, 2),
    row(230, "bf16_r16", 1, 2, 0),
    row(233, "q6_0_r4", 32, 26, 0),
    row(335, "iq2_bn_r4", 64, 16, 4),
    row(337, "iq2_k_r4", 256, 76, 0),
    row(338, "iq3_k_r4", 256, 110, 0),
    row(339, "iq4_k_r4", 256, 144, 0),
    row(340, "iq5_k_r4", 256, 176, 0),
    row(344, "iq4_ks_r4", 256, 136, 4),
    row(352, "iq5_ks_r4", 256, 168, 4),
    row(353, "mxfp4_r8", 32, 17, 0),
    row(397, "q8_k_r16", 256, 258, 0),
    row(398, "q8_KV_r8", 32, 32, 4),
    row(399, "q8_k_r8", 256, 258, 0),
];

impl ForeignType {
    /// The type stored as `id` in a file.
    pub fn from_id(id: u32) -> Option<Self> {
        TYPES.iter().find(|t| t.id == id).copied()
    }

    /// The type of this name; case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|t| t.name.eq_ignore_ascii_case(name)).copied()
    }

    /// Name in messages: `type IQ2_K of ik_llama.cpp`.
    pub fn described(&self) -> String {
        format!("type {} of {}", self.name.to_uppercase(), self.origin)
    }

    /// Weights in a block.
    pub fn block_len(&self) -> u64 {
        match self.size {
            Size::Rows(block, ..) => block,
            Size::Quarters => 1,
        }
    }

    /// Bytes of a tensor; `None` where rows are no whole blocks, or the size does not fit in 64 bits.
    pub(crate) fn tensor_bytes(&self, shape: &[u64]) -> Option<u64> {
        let row_len = shape.first().copied().unwrap_or(1);
        let rows = shape.iter().skip(1).try_fold(1u64, |n, &d| n.checked_mul(d))?;
        match self.size {
            Size::Rows(block, bytes, of_row) => (row_len / block)
                .checked_mul(bytes)?
                .checked_add(of_row)?
                .checked_mul(rows)
                .filter(|_| row_len.is_multiple_of(block)),
            Size::Quarters => (row_len.checked_mul(rows)? / 4).checked_add(32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_is_one_that_is_read() {
        assert!(TYPES.windows(2).all(|w| w[0].id < w[1].id));
        for ty in TYPES {
            assert_eq!(crate::TensorType::from_id(ty.id), None, "{}", ty.name);
            assert_eq!(crate::TensorType::from_name(ty.name), None, "{}", ty.name);
            assert_eq!(ForeignType::from_name(&ty.name.to_uppercase()), Some(*ty));
        }
    }

    #[test]
    fn rows_have_bytes_of_their_own() {
        let bytes = |name: &str, shape: &[u64]| ForeignType::from_name(name).unwrap().tensor_bytes(shape);
        assert_eq!(bytes("iq2_k", &[512, 3]), Some(2 * 76 * 3));
        assert_eq!(bytes("iq4_ks", &[512, 3]), Some((2 * 136 + 4) * 3));
        assert_eq!(bytes("iq2_bn", &[128, 2, 5]), Some((2 * 16 + 4) * 10));
        assert_eq!(bytes("iq1_s_r4", &[64, 4]), Some((2 * 6 + 2) * 4));
        assert_eq!(bytes("i2_s", &[128, 2]), Some(64 + 32));
        assert_eq!(bytes("iq2_k", &[500]), None);
        assert_eq!(bytes("iq2_k", &[1 << 40, 1 << 40]), None);
    }
}
