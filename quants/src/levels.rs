//! How levels are laid out in bytes.

/// 32 levels of four bits: level `i` in the low nibble of byte `i`, level `16 + i` in its high one.
#[inline(always)]
pub(crate) fn pack_nibbles(levels: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|i| levels[i] | levels[16 + i] << 4)
}

/// The reverse of [`pack_nibbles`].
#[inline(always)]
pub(crate) fn unpack_nibbles(bytes: &[u8; 16]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

/// 32 levels of five bits: the low four as nibbles, the fifth of level `i` in bit `i`.
#[inline(always)]
pub(crate) fn pack_five_bits(levels: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
    let mut fifth = 0_u32;
    for (i, level) in levels.iter().enumerate() {
        fifth |= u32::from(level >> 4 & 1) << i;
    }
    (pack_nibbles(&levels.map(|level| level & 15)), fifth.to_le_bytes())
}

/// The reverse of [`pack_five_bits`].
#[inline(always)]
pub(crate) fn unpack_five_bits(nibbles: &[u8; 16], fifth: [u8; 4]) -> [u8; 32] {
    let fifth = u32::from_le_bytes(fifth);
    let low = unpack_nibbles(nibbles);
    std::array::from_fn(|i| low[i] | ((fifth >> i & 1) as u8) << 4)
}

/// 256 levels of two bits: in each half of the super-block, byte `i` holds the levels `i`, `32 + i`,
/// `64 + i` and `96 + i`, lowest bits first.
#[inline(always)]
pub(crate) fn pack_two_bits(levels: &[u8; 256]) -> [u8; 64] {
    std::array::from_fn(|i| {
        let first = i / 32 * 128 + i % 32;
        levels[first] | levels[first + 32] << 2 | levels[first + 64] << 4 | levels[first + 96] << 6
    })
}

/// The sixteen levels of sub-block `index` of [`pack_two_bits`].
#[inline(always)]
pub(crate) fn unpack_two_bits(bytes: &[u8; 64], index: usize) -> [u8; 16] {
    let first = index / 8 * 32 + index % 2 * 16;
    let shift = index % 8 / 2 * 2;
    std::array::from_fn(|i| bytes[first + i] >> shift & 3)
}
