//! The layouts of levels in bytes.

/// `level(x)` of each element. A loop, because `map` of arrays is a function of its own, which is not compiled for
/// the instruction set of its caller.
#[inline(always)]
pub(crate) fn each<T: Copy, U: Copy + Default, const N: usize>(x: &[T; N], level: impl Fn(T) -> U) -> [U; N] {
    let mut levels = [U::default(); N];
    for i in 0..N {
        levels[i] = level(x[i]);
    }
    levels
}

/// `element(i)` for each `i`. A loop, for the same reason as [`each`].
#[inline(always)]
pub(crate) fn build<U: Copy + Default, const N: usize>(element: impl Fn(usize) -> U) -> [U; N] {
    let mut elements = [U::default(); N];
    for (i, place) in elements.iter_mut().enumerate() {
        *place = element(i);
    }
    elements
}

/// 32 levels of four bits: level `i` in the low nibble of byte `i`, level `16 + i` in its high one.
#[inline(always)]
pub(crate) fn pack_nibbles(levels: &[u8; 32]) -> [u8; 16] {
    build(|i| levels[i] | levels[16 + i] << 4)
}

/// Bit `bit` of 32 levels: that of level `i` becomes bit `i`.
#[inline(always)]
fn gather_bits(levels: &[u8; 32], bit: u32) -> u32 {
    // Each byte's bit moves to its place in the top byte: byte `i` by `56 - 7 * i`.
    const PLACES: u64 = 0x0102_0408_1020_4080;
    const LOWEST: u64 = 0x0101_0101_0101_0101;
    let parts = levels.as_chunks::<8>().0.iter().enumerate();
    parts.fold(0, |bits, (part, levels)| {
        let lowest = u64::from_le_bytes(*levels) >> bit & LOWEST;
        bits | ((lowest.wrapping_mul(PLACES) >> 56) as u32) << (8 * part)
    })
}

/// 32 levels of five bits: the low four as nibbles, the fifth of level `i` in bit `i`.
#[inline(always)]
pub(crate) fn pack_five_bits(levels: &[u8; 32]) -> ([u8; 16], [u8; 4]) {
    let fifth = gather_bits(levels, 4);
    (
        pack_nibbles(&each(levels, |level| level & 15)),
        fifth.to_le_bytes(),
    )
}

/// The reverse of [`pack_nibbles`].
#[inline(always)]
pub(crate) fn unpack_nibbles(bytes: &[u8; 16], levels: &mut [u8; 32]) {
    for (i, byte) in bytes.iter().enumerate() {
        levels[i] = byte & 15;
        levels[16 + i] = byte >> 4;
    }
}

/// The reverse of [`pack_five_bits`].
#[inline(always)]
pub(crate) fn unpack_five_bits(nibbles: &[u8; 16], fifth: [u8; 4], levels: &mut [u8; 32]) {
    let fifth = u32::from_le_bytes(fifth);
    unpack_nibbles(nibbles, levels);
    for (i, level) in levels.iter_mut().enumerate() {
        *level |= ((fifth >> i & 1) as u8) << 4;
    }
}

/// Decodes the reverse of [`pack_nibbles`]: `value(level)` of each level.
#[inline(always)]
pub(crate) fn decode_nibbles(bytes: &[u8; 16], y: &mut [f32; 32], value: impl Fn(f32) -> f32) {
    // Bytes first: of floats at once the compiler makes shuffles of single bytes where it has AVX2, which take longer.
    let mut levels = [0; 32];
    unpack_nibbles(bytes, &mut levels);
    for (y, level) in y.iter_mut().zip(levels) {
        *y = value(f32::from(level));
    }
}

/// Decodes the reverse of [`pack_five_bits`]: `value(level)` of each level.
#[inline(always)]
pub(crate) fn decode_five_bits(
    nibbles: &[u8; 16],
    fifth: [u8; 4],
    y: &mut [f32; 32],
    value: impl Fn(f32) -> f32,
) {
    let fifth = u32::from_le_bytes(fifth);
    for (i, byte) in nibbles.iter().enumerate() {
        let (low, high) = (u32::from(byte & 15), u32::from(byte >> 4));
        y[i] = value((low | (fifth >> i & 1) << 4) as i32 as f32);
        y[16 + i] = value((high | (fifth >> (16 + i) & 1) << 4) as i32 as f32);
    }
}

/// 256 levels of two bits: in each half of the super-block, byte `i` holds the levels `i`, `32 + i`,
/// `64 + i` and `96 + i`, lowest bits first.
#[inline(always)]
pub(crate) fn pack_two_bits(levels: &[u8; 256]) -> [u8; 64] {
    let mut bytes = [0; 64];
    // Half by half: where an index is a remainder, the compiler collects single bytes if it has AVX-512.
    let halves = levels
        .as_chunks::<128>()
        .0
        .iter()
        .zip(bytes.as_chunks_mut::<32>().0);
    for (levels, bytes) in halves {
        for i in 0..32 {
            bytes[i] = levels[i] | levels[32 + i] << 2 | levels[64 + i] << 4 | levels[96 + i] << 6;
        }
    }
    bytes
}

/// The sixteen levels of sub-block `index` of [`pack_two_bits`].
#[inline(always)]
pub(crate) fn unpack_two_bits(bytes: &[u8; 64], index: usize) -> [u8; 16] {
    let first = index / 8 * 32 + index % 2 * 16;
    let shift = index % 8 / 2 * 2;
    build(|i| bytes[first + i] >> shift & 3)
}

/// 256 levels of six bits: their low nibbles, of which each half of the super-block takes 64 bytes (levels 0 to 63 in the
/// low nibbles, 64 to 127 in the high ones), and their upper two bits as [`pack_two_bits`] has them.
#[inline(always)]
pub(crate) fn pack_six_bits(levels: &[u8; 256]) -> ([u8; 128], [u8; 64]) {
    let mut low = [0; 128];
    let halves = levels
        .as_chunks::<128>()
        .0
        .iter()
        .zip(low.as_chunks_mut::<64>().0);
    for (levels, low) in halves {
        for i in 0..64 {
            low[i] = levels[i] & 15 | levels[64 + i] << 4;
        }
    }
    (low, pack_two_bits(&each(levels, |level| level >> 4)))
}

/// The reverse of [`pack_six_bits`].
#[inline(always)]
pub(crate) fn unpack_six_bits(low: &[u8; 128], high: &[u8; 64], levels: &mut [u8; 256]) {
    let halves = low.as_chunks::<64>().0.iter().zip(high.as_chunks::<32>().0);
    for ((low, high), levels) in halves.zip(levels.as_chunks_mut::<128>().0) {
        for i in 0..32 {
            levels[i] = low[i] & 15 | (high[i] & 3) << 4;
            levels[32 + i] = low[32 + i] & 15 | (high[i] >> 2 & 3) << 4;
            levels[64 + i] = low[i] >> 4 | (high[i] >> 4 & 3) << 4;
            levels[96 + i] = low[32 + i] >> 4 | high[i] >> 6 << 4;
        }
    }
}

/// Bits of a level in the code of a codebook point: three levels a coordinate with eight coordinates, eight with four.
pub(crate) const fn code_bits(dimensions: usize) -> usize {
    if dimensions == 8 { 2 } else { 3 }
}

/// The level of a coordinate in the code of a codebook point.
#[inline(always)]
pub(crate) fn code_level<const D: usize>(code: u16, axis: usize) -> usize {
    usize::from(code >> (code_bits(D) * axis)) & ((1 << code_bits(D)) - 1)
}
