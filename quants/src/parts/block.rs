//! The numbers of a block.

/// Most weights in a block, and most sub-blocks.
const WEIGHTS: usize = 256;
const SUB_BLOCKS: usize = 16;

/// A block's numbers. Entries beyond the format's counts are unused.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// The block's scale, a half-precision number.
    pub d: u16,
    /// The factor of the minima, a half-precision number.
    pub dmin: u16,
    /// For each sub-block its scale.
    pub scales: [i16; SUB_BLOCKS],
    /// For each sub-block its minimum.
    pub mins: [i16; SUB_BLOCKS],
    /// For each weight its level's number: from 0 for the first level on.
    pub levels: [u8; WEIGHTS],
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            d: 0,
            dmin: 0,
            scales: [0; SUB_BLOCKS],
            mins: [0; SUB_BLOCKS],
            levels: [0; WEIGHTS],
        }
    }
}

/// The half-precision number at byte `at`.
pub(super) fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Writes it.
pub(super) fn put_half(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}
