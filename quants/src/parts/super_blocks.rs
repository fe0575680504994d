//! K-quants: blocks of 256 weights whose sub-blocks have scales, and some minima, in few bits.

use super::block::{Parts, half, put_half};
use crate::formats;
use crate::levels::{pack_six_bits, pack_two_bits, unpack_six_bits, unpack_two_bits};

fn packed<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("a whole block")
}

fn unpack_low_two(bytes: &[u8; 64], parts: &mut Parts) {
    for (j, levels) in parts.levels.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        *levels = unpack_two_bits(bytes, j);
    }
}

pub(super) fn unpack_q2_k(bytes: &[u8], parts: &mut Parts) {
    for (j, byte) in bytes[..16].iter().enumerate() {
        parts.scales[j] = i16::from(byte & 15);
        parts.mins[j] = i16::from(byte >> 4);
    }
    unpack_low_two(packed(bytes, 16), parts);
    parts.d = half(bytes, 80);
    parts.dmin = half(bytes, 82);
}

pub(super) fn pack_q2_k(parts: &Parts, bytes: &mut [u8]) {
    for (j, byte) in bytes[..16].iter_mut().enumerate() {
        *byte = (parts.scales[j] & 15 | parts.mins[j] << 4) as u8;
    }
    bytes[16..80].copy_from_slice(&pack_two_bits(&parts.levels.map(|level| level & 3)));
    put_half(bytes, 80, parts.d);
    put_half(bytes, 82, parts.dmin);
}

pub(super) fn unpack_q3_k(bytes: &[u8], parts: &mut Parts) {
    unpack_low_two(packed(bytes, 32), parts);
    for (i, level) in parts.levels.iter_mut().enumerate() {
        *level |= (bytes[i % 32] >> (i / 32) & 1) << 2;
    }
    parts.scales = formats::unpack_q3_scales(packed(bytes, 96)).map(i16::from);
    parts.d = half(bytes, 108);
}

pub(super) fn pack_q3_k(parts: &Parts, bytes: &mut [u8]) {
    for (i, byte) in bytes[..32].iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, j| bits | (parts.levels[32 * j + i] >> 2 & 1) << j);
    }
    bytes[32..96].copy_from_slice(&pack_two_bits(&parts.levels.map(|level| level & 3)));
    let scales = parts.scales.map(|scale| (scale + 32) as u8 & 63);
    bytes[96..108].copy_from_slice(&formats::pack_q3_scales(&scales));
    put_half(bytes, 108, parts.d);
}

/// The scales of Q4_K and Q5_K.
fn unpack_affine(bytes: &[u8], parts: &mut Parts) {
    parts.d = half(bytes, 0);
    parts.dmin = half(bytes, 2);
    for j in 0..8 {
        let (scale, min) = formats::unpack_scale(packed(bytes, 4), j);
        parts.scales[j] = i16::from(scale);
        parts.mins[j] = i16::from(min);
    }
}

fn pack_affine(parts: &Parts, bytes: &mut [u8]) {
    put_half(bytes, 0, parts.d);
    put_half(bytes, 2, parts.dmin);
    let six_bits = |values: &[i16; 16]| std::array::from_fn(|j| values[j] as u8 & 63);
    let packed = formats::pack_scales(&six_bits(&parts.scales), &six_bits(&parts.mins));
    bytes[4..16].copy_from_slice(&packed);
}

/// Nibbles of pairs of sub-blocks: the first's low, the second's high.
fn unpack_pairs(bytes: &[u8], parts: &mut Parts) {
    for (i, byte) in bytes.iter().enumerate() {
        let first = i / 32 * 64 + i % 32;
        parts.levels[first] = byte & 15;
        parts.levels[first + 32] = byte >> 4;
    }
}

fn pack_pairs(parts: &Parts, bytes: &mut [u8]) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        let first = i / 32 * 64 + i % 32;
        *byte = parts.levels[first] & 15 | parts.levels[first + 32] << 4;
    }
}

pub(super) fn unpack_q4_k(bytes: &[u8], parts: &mut Parts) {
    unpack_affine(bytes, parts);
    unpack_pairs(&bytes[16..], parts);
}

pub(super) fn pack_q4_k(parts: &Parts, bytes: &mut [u8]) {
    pack_affine(parts, bytes);
    pack_pairs(parts, &mut bytes[16..]);
}

pub(super) fn unpack_q5_k(bytes: &[u8], parts: &mut Parts) {
    unpack_affine(bytes, parts);
    unpack_pairs(&bytes[48..], parts);
    for (i, level) in parts.levels.iter_mut().enumerate() {
        *level |= (bytes[16 + i % 32] >> (i / 32) & 1) << 4;
    }
}

pub(super) fn pack_q5_k(parts: &Parts, bytes: &mut [u8]) {
    pack_affine(parts, bytes);
    pack_pairs(parts, &mut bytes[48..]);
    for (i, byte) in bytes[16..48].iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, j| bits | (parts.levels[32 * j + i] >> 4 & 1) << j);
    }
}

pub(super) fn unpack_q6_k(bytes: &[u8], parts: &mut Parts) {
    unpack_six_bits(packed(bytes, 0), packed(bytes, 128), &mut parts.levels);
    for (j, byte) in bytes[192..208].iter().enumerate() {
        parts.scales[j] = i16::from(*byte as i8);
    }
    parts.d = half(bytes, 208);
}

pub(super) fn pack_q6_k(parts: &Parts, bytes: &mut [u8]) {
    let (low, high) = pack_six_bits(&parts.levels.map(|level| level & 63));
    bytes[..128].copy_from_slice(&low);
    bytes[128..192].copy_from_slice(&high);
    for (j, byte) in bytes[192..208].iter_mut().enumerate() {
        *byte = parts.scales[j] as i8 as u8;
    }
    put_half(bytes, 208, parts.d);
}
