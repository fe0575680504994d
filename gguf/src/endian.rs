//! Byte order, and where a block of each type has fields that it touches.

use crate::TensorType;

/// Byte order of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Endian {
    /// Least significant byte first: nearly every file.
    #[default]
    Little,
    /// Most significant byte first: files for machines such as s390x.
    Big,
}

impl std::fmt::Display for Endian {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Little => "little",
            Self::Big => "big",
        })
    }
}

/// A run of numbers in a block: at which byte, how many bytes each, how many.
type Field = (usize, usize, usize);

/// The multi-byte numbers in a block of this type, as ggml's code on a big-endian machine lays them
/// out. That goes by how ggml accesses a field, not only by how it declares it: the high bits of Q5_0
/// are declared as bytes and read as one 32-bit number.
///
/// `None` for IQ2_XXS: ggml packs four grid indices into a 32-bit number when it encodes and reads
/// them as bytes when it decodes, so that on a big-endian machine its own two halves disagree.
fn fields(ty: TensorType) -> Option<&'static [Field]> {
    use TensorType as T;
    const NONE: &[Field] = &[];
    const HALF_FIRST: &[Field] = &[(0, 2, 1)];
    const TWO_HALVES_FIRST: &[Field] = &[(0, 2, 2)];
    Some(match ty {
        T::I8 | T::MXFP4 | T::NVFP4 => NONE,
        T::F16 | T::BF16 | T::I16 => HALF_FIRST,
        T::F32 | T::I32 => &[(0, 4, 1)],
        T::F64 | T::I64 => &[(0, 8, 1)],
        T::Q4_0 | T::Q8_0 | T::Q1_0 | T::Q2_0 | T::IQ4_NL | T::IQ2_S | T::IQ3_S => HALF_FIRST,
        T::Q4_1 | T::Q8_1 | T::Q4_K | T::Q5_K => TWO_HALVES_FIRST,
        T::Q5_0 => &[(0, 2, 1), (2, 4, 1)],
        T::Q5_1 => &[(0, 2, 2), (4, 4, 1)],
        T::Q2_K => &[(80, 2, 2)],
        T::Q3_K => &[(108, 2, 1)],
        T::Q6_K => &[(208, 2, 1)],
        T::Q8_K => &[(0, 4, 1), (260, 2, 16)],
        T::TQ1_0 => &[(52, 2, 1)],
        T::TQ2_0 => &[(64, 2, 1)],
        T::IQ2_XS => &[(0, 2, 33)],
        T::IQ3_XXS => &[(0, 2, 1), (66, 4, 8)],
        T::IQ1_S => &[(0, 2, 1), (34, 2, 8)],
        T::IQ1_M => &[(48, 2, 4)],
        T::IQ4_XS => &[(0, 2, 2)],
        T::IQ2_XXS => return None,
    })
}

/// Whether whole blocks of this type can be turned from one byte order to the other.
pub(crate) fn can_swap(ty: TensorType) -> bool {
    fields(ty).is_some()
}

/// Turns whole blocks from one byte order to the other; twice gives the start again. False, and
/// nothing done, for a type that cannot be turned or a partial block.
#[must_use]
pub(crate) fn swap_blocks(ty: TensorType, data: &mut [u8]) -> bool {
    let Some(fields) = fields(ty) else { return false };
    if !data.len().is_multiple_of(ty.block_bytes()) {
        return false;
    }
    for block in data.chunks_exact_mut(ty.block_bytes()) {
        for &(at, width, count) in fields {
            for number in block[at..][..width * count].chunks_exact_mut(width) {
                number.reverse();
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TYPES;

    #[test]
    fn fields_lie_inside_their_block_and_do_not_overlap() {
        for t in TYPES {
            let Some(fields) = fields(t.ty) else { continue };
            let mut end = 0;
            for &(at, width, count) in fields {
                assert!(at >= end, "{}", t.name);
                end = at + width * count;
            }
            assert!(end <= t.block_bytes, "{}", t.name);
        }
    }

    #[test]
    fn swapping_twice_changes_nothing() {
        for t in TYPES {
            let data: Vec<u8> = (0..t.block_bytes * 2).map(|i| i as u8).collect();
            let mut swapped = data.clone();
            if !swap_blocks(t.ty, &mut swapped) {
                assert_eq!(t.ty, TensorType::IQ2_XXS);
                continue;
            }
            assert!(swap_blocks(t.ty, &mut swapped));
            assert_eq!(swapped, data, "{}", t.name);
        }
    }

    #[test]
    fn q4_0_swaps_its_scale_alone() {
        let mut block: Vec<u8> = (0..18).collect();
        assert!(swap_blocks(TensorType::Q4_0, &mut block));
        assert_eq!(block[..4], [1, 0, 2, 3]);
        assert!(!swap_blocks(TensorType::Q4_0, &mut block[..17]));
    }
}
