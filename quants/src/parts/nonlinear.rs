//! IQ4_NL and IQ4_XS: levels of a table.

use super::block::{Parts, half, put_half};

pub(super) fn unpack_iq4_nl(bytes: &[u8], parts: &mut Parts) {
    super::legacy::unpack_q4_0(bytes, parts);
}

pub(super) fn pack_iq4_nl(parts: &Parts, bytes: &mut [u8]) {
    super::legacy::pack_q4_0(parts, bytes);
}

pub(super) fn unpack_iq4_xs(bytes: &[u8], parts: &mut Parts) {
    parts.d = half(bytes, 0);
    let high = half(bytes, 2);
    for j in 0..8 {
        let low = bytes[4 + j / 2] >> (4 * (j % 2)) & 15;
        parts.scales[j] = i16::from(low) + ((high >> (2 * j) & 3) << 4) as i16 - 32;
        for (i, byte) in bytes[8 + 16 * j..][..16].iter().enumerate() {
            parts.levels[32 * j + i] = byte & 15;
            parts.levels[32 * j + 16 + i] = byte >> 4;
        }
    }
}

pub(super) fn pack_iq4_xs(parts: &Parts, bytes: &mut [u8]) {
    put_half(bytes, 0, parts.d);
    let mut high = 0;
    bytes[4..8].fill(0);
    for j in 0..8 {
        let code = (parts.scales[j] + 32) as u16 & 63;
        bytes[4 + j / 2] |= (code as u8 & 15) << (4 * (j % 2));
        high |= (code >> 4) << (2 * j);
        for (i, byte) in bytes[8 + 16 * j..][..16].iter_mut().enumerate() {
            *byte = parts.levels[32 * j + i] & 15 | parts.levels[32 * j + 16 + i] << 4;
        }
    }
    put_half(bytes, 2, high);
}
