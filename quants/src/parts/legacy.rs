//! Blocks of 32 weights with a scale, and some with a minimum.

use super::block::{Parts, half, put_half};

/// The sign bit of a half-precision number: these formats add their minimum instead of taking it away.
const SIGN: u16 = 0x8000;

fn unpack_nibbles(bytes: &[u8], parts: &mut Parts) {
    for (i, byte) in bytes.iter().enumerate() {
        parts.levels[i] = byte & 15;
        parts.levels[16 + i] = byte >> 4;
    }
}

fn pack_nibbles(parts: &Parts, bytes: &mut [u8]) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = parts.levels[i] & 15 | parts.levels[16 + i] << 4;
    }
}

fn unpack_fifth(bytes: &[u8], parts: &mut Parts) {
    for (i, level) in parts.levels[..32].iter_mut().enumerate() {
        *level |= (bytes[i / 8] >> (i % 8) & 1) << 4;
    }
}

fn pack_fifth(parts: &Parts, bytes: &mut [u8]) {
    bytes.fill(0);
    for (i, level) in parts.levels[..32].iter().enumerate() {
        bytes[i / 8] |= (level >> 4 & 1) << (i % 8);
    }
}

fn unpack_scale(bytes: &[u8], parts: &mut Parts) {
    parts.d = half(bytes, 0);
    parts.scales[0] = 1;
}

fn unpack_scale_and_min(bytes: &[u8], parts: &mut Parts) {
    unpack_scale(bytes, parts);
    parts.dmin = half(bytes, 2) ^ SIGN;
    parts.mins[0] = 1;
}

fn pack_scale_and_min(parts: &Parts, bytes: &mut [u8]) {
    put_half(bytes, 0, parts.d);
    put_half(bytes, 2, parts.dmin ^ SIGN);
}

pub(super) fn unpack_q4_0(bytes: &[u8], parts: &mut Parts) {
    unpack_scale(bytes, parts);
    unpack_nibbles(&bytes[2..], parts);
}

pub(super) fn pack_q4_0(parts: &Parts, bytes: &mut [u8]) {
    put_half(bytes, 0, parts.d);
    pack_nibbles(parts, &mut bytes[2..]);
}

pub(super) fn unpack_q4_1(bytes: &[u8], parts: &mut Parts) {
    unpack_scale_and_min(bytes, parts);
    unpack_nibbles(&bytes[4..], parts);
}

pub(super) fn pack_q4_1(parts: &Parts, bytes: &mut [u8]) {
    pack_scale_and_min(parts, bytes);
    pack_nibbles(parts, &mut bytes[4..]);
}

pub(super) fn unpack_q5_0(bytes: &[u8], parts: &mut Parts) {
    unpack_scale(bytes, parts);
    unpack_nibbles(&bytes[6..], parts);
    unpack_fifth(&bytes[2..6], parts);
}

pub(super) fn pack_q5_0(parts: &Parts, bytes: &mut [u8]) {
    put_half(bytes, 0, parts.d);
    pack_fifth(parts, &mut bytes[2..6]);
    pack_nibbles(parts, &mut bytes[6..]);
}

pub(super) fn unpack_q5_1(bytes: &[u8], parts: &mut Parts) {
    unpack_scale_and_min(bytes, parts);
    unpack_nibbles(&bytes[8..], parts);
    unpack_fifth(&bytes[4..8], parts);
}

pub(super) fn pack_q5_1(parts: &Parts, bytes: &mut [u8]) {
    pack_scale_and_min(parts, bytes);
    pack_fifth(parts, &mut bytes[4..8]);
    pack_nibbles(parts, &mut bytes[8..]);
}

/// Levels count from -127 on; a stored -128, which no encoder writes, is taken for it.
pub(super) fn unpack_q8_0(bytes: &[u8], parts: &mut Parts) {
    unpack_scale(bytes, parts);
    for (level, byte) in parts.levels.iter_mut().zip(&bytes[2..]) {
        *level = (i16::from(*byte as i8) + 127).max(0) as u8;
    }
}

pub(super) fn pack_q8_0(parts: &Parts, bytes: &mut [u8]) {
    put_half(bytes, 0, parts.d);
    for (level, byte) in parts.levels.iter().zip(&mut bytes[2..]) {
        *byte = (i16::from(*level) - 127) as i8 as u8;
    }
}
