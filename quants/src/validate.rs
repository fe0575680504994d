//! Checks of stored blocks, by the rules of ggml's `ggml_validate_row_data`.

use crate::error::Fault;

/// The check of a type's blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// Every bit pattern is valid.
    Anything,
    /// Finite half-precision values at these offsets in each block.
    F16At(&'static [usize]),
    /// A half-precision scale spread over the top four bits of the four words at the end of the
    /// block (IQ1_M).
    F16InTopBits,
    /// A shared exponent at the start of each block, of which 0xff is NaN.
    E8m0,
    /// Finite `f32` elements, or an `f32` at the start of each block.
    F32Elements,
    /// Finite `f64` elements. ggml narrows them to `f32` first, so overflow counts as infinity.
    F64Elements,
    /// Finite `bf16` elements.
    Bf16Elements,
    /// A type that no file stores.
    NotStored,
}

impl Check {
    /// Checks whole blocks of `block_bytes` each; the first invalid one and its fault.
    pub(crate) fn run(self, blocks: &[u8], block_bytes: usize) -> Result<(), (usize, Fault)> {
        let check: fn(&[u8], &[usize]) -> Result<(), Fault> = match self {
            Self::Anything => return Ok(()),
            Self::NotStored => return Err((0, Fault::NotStored)),
            Self::F16At(_) => |block, offsets| {
                offsets
                    .iter()
                    .try_for_each(|&at| f16_is_finite(u16::from_le_bytes([block[at], block[at + 1]])))
            },
            Self::F16InTopBits => |block, _| f16_is_finite(top_bits(block)),
            Self::E8m0 => |block, _| match block[0] {
                0xff => Err(Fault::Exponent),
                _ => Ok(()),
            },
            Self::F32Elements => |block, _| f32_is_finite(f32::from_bits(word(block))),
            Self::F64Elements => |block, _| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(block);
                f32_is_finite(f64::from_le_bytes(bytes) as f32)
            },
            Self::Bf16Elements => {
                |block, _| f32_is_finite(f32::from_bits(u32::from_le_bytes([0, 0, block[0], block[1]])))
            }
        };
        let offsets = match self {
            Self::F16At(offsets) => offsets,
            _ => &[],
        };
        if self.are_finite_elements(blocks, block_bytes) {
            return Ok(());
        }
        for (index, block) in blocks.chunks_exact(block_bytes).enumerate() {
            check(block, offsets).map_err(|fault| (index, fault))?;
        }
        Ok(())
    }

    /// Whether blocks of one element each are all finite, for the types in which one comparison tells: no exponent has all of
    /// its bits set. Which one is at fault is looked for only where one is, so that the loop is one of vectors.
    fn are_finite_elements(self, blocks: &[u8], block_bytes: usize) -> bool {
        match (self, block_bytes) {
            (Self::F16At([0]), 2) => exponents_differ(blocks, u16::from_le_bytes, 0x7c00),
            (Self::Bf16Elements, 2) => exponents_differ(blocks, u16::from_le_bytes, 0x7f80),
            (Self::F32Elements, 4) => exponents_differ(blocks, u32::from_le_bytes, 0x7f80_0000),
            _ => false,
        }
    }
}

/// Whether none of the elements has all bits of `exponent` set.
fn exponents_differ<const N: usize, T>(bytes: &[u8], element: impl Fn([u8; N]) -> T, exponent: T) -> bool
where
    T: Copy + PartialEq + std::ops::BitAnd<Output = T>,
{
    let (elements, _) = bytes.as_chunks::<N>();
    let is_full = |full, bytes: &[u8; N]| full | (element(*bytes) & exponent == exponent);
    !elements.iter().fold(false, is_full)
}

fn word(block: &[u8]) -> u32 {
    u32::from_le_bytes([block[0], block[1], block[2], block[3]])
}

/// The scale whose nibbles, lowest first, are the top four bits of the block's last four words.
fn top_bits(block: &[u8]) -> u16 {
    let words = &block[block.len() - 8..];
    (0..4).fold(0, |bits, i| bits | u16::from(words[2 * i + 1] >> 4) << (4 * i))
}

fn f16_is_finite(bits: u16) -> Result<(), Fault> {
    match bits & 0x7fff {
        0..0x7c00 => Ok(()),
        0x7c00 => Err(Fault::Infinity),
        _ => Err(Fault::NotANumber),
    }
}

fn f32_is_finite(value: f32) -> Result<(), Fault> {
    if value.is_finite() {
        Ok(())
    } else if value.is_nan() {
        Err(Fault::NotANumber)
    } else {
        Err(Fault::Infinity)
    }
}
