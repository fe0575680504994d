//! Blocks whose weights are points of a codebook, taken apart: scales, points and signs as numbers.
//!
//! A weight is `scale * (value * sign)`, with the scale `d * factor` and the factor `first + code * step`, as the
//! decoders compute it: the factors' halves and quarters are exact.

use gguf::TensorType;

use super::block::{half, put_half};
use crate::search::codebook as grid;

/// Most sub-blocks in a block, points in a block, and groups of eight weights, each with a byte of signs.
const SUB_BLOCKS: usize = 16;
const POINTS: usize = 64;
const SIGNS: usize = 32;

/// Weights in a block.
pub const BLOCK: usize = 256;
/// The highest code of a scale.
pub const LAST_CODE: u8 = 15;

/// A format of this kind.
#[derive(Clone, Copy, Debug)]
pub struct Codebook {
    /// The type.
    pub ty: TensorType,
    /// Weights that share a scale.
    pub sub_block: usize,
    /// Weights of a point.
    pub dimensions: usize,
    /// Points.
    pub count: usize,
    /// Whether the number of negative signs of eight weights is even.
    pub even: bool,
    /// The factor of scale code 0.
    pub first: f32,
    /// Addend of a step of the code.
    pub step: f32,
    point: fn(usize) -> &'static [i8],
    unpack: fn(&[u8], &mut PointParts),
    pack: fn(&PointParts, &mut [u8]),
}

/// A block's numbers. Entries beyond the format's counts are unused.
#[derive(Clone, Debug, PartialEq)]
pub struct PointParts {
    /// The block's scale, a half-precision number.
    pub d: u16,
    /// The scale codes of the sub-blocks.
    pub scales: [u8; SUB_BLOCKS],
    /// The points of the groups.
    pub points: [u16; POINTS],
    /// A bit for each of eight weights: whether it is negative.
    pub signs: [u8; SIGNS],
}

impl Default for PointParts {
    fn default() -> Self {
        Self {
            d: 0,
            scales: [0; SUB_BLOCKS],
            points: [0; POINTS],
            signs: [0; SIGNS],
        }
    }
}

#[rustfmt::skip]
static CODEBOOKS: &[Codebook] = {
    use TensorType as T;
    &[
        Codebook { ty: T::IQ2_XXS, sub_block: 32, dimensions: 8, count: 256, even: true, first: 0.125, step: 0.25, point: |i| &grid::IQ2_XXS[i], unpack: unpack_iq2_xxs, pack: pack_iq2_xxs },
        Codebook { ty: T::IQ2_XS, sub_block: 16, dimensions: 8, count: 512, even: true, first: 0.125, step: 0.25, point: |i| &grid::IQ2_XS[i], unpack: unpack_iq2_xs, pack: pack_iq2_xs },
        Codebook { ty: T::IQ3_XXS, sub_block: 32, dimensions: 4, count: 256, even: true, first: 0.25, step: 0.5, point: |i| &grid::IQ3_XXS[i], unpack: unpack_iq3_xxs, pack: pack_iq3_xxs },
        Codebook { ty: T::IQ3_S, sub_block: 32, dimensions: 4, count: 512, even: false, first: 1.0, step: 2.0, point: |i| &grid::IQ3_S[i], unpack: unpack_iq3_s, pack: pack_iq3_s },
        Codebook { ty: T::IQ2_S, sub_block: 16, dimensions: 8, count: 1024, even: false, first: 0.125, step: 0.25, point: |i| &grid::IQ2_S[i], unpack: unpack_iq2_s, pack: pack_iq2_s },
    ]
};

/// The codebook of a type, where its weights are points of one and its blocks can be taken apart.
pub fn codebook(ty: TensorType) -> Option<&'static Codebook> {
    CODEBOOKS.iter().find(|codebook| codebook.ty == ty)
}

/// The types that have one.
pub fn codebook_types() -> impl Iterator<Item = TensorType> {
    CODEBOOKS.iter().map(|codebook| codebook.ty)
}

impl Codebook {
    /// The magnitudes of a point.
    ///
    /// # Panics
    /// When there are no more than `index` points.
    pub fn point(&self, index: usize) -> &'static [i8] {
        (self.point)(index)
    }

    /// Takes a block apart.
    ///
    /// # Panics
    /// When `bytes` is not one block.
    pub fn unpack(&self, bytes: &[u8]) -> PointParts {
        assert_eq!(bytes.len(), self.ty.block_bytes(), "one block of {}", self.ty);
        let mut parts = PointParts::default();
        (self.unpack)(bytes, &mut parts);
        parts
    }

    /// Puts a block together. Numbers that the format cannot hold lose their upper bits; of eight signs that have to
    /// be even, the last one follows from the others.
    ///
    /// # Panics
    /// When `bytes` is not one block.
    pub fn pack(&self, parts: &PointParts, bytes: &mut [u8]) {
        assert_eq!(bytes.len(), self.ty.block_bytes(), "one block of {}", self.ty);
        (self.pack)(parts, bytes);
    }

    /// The value of weight `index` of a block.
    pub fn value(&self, parts: &PointParts, index: usize) -> f32 {
        let code = f32::from(parts.scales[index / self.sub_block]);
        let scale = crate::f16::to_f32(parts.d) * (self.first + code * self.step);
        let point = self.point(usize::from(parts.points[index / self.dimensions]));
        let magnitude = f32::from(point[index % self.dimensions]);
        scale * magnitude * grid::sign(parts.signs[index / 8], index % 8)
    }
}

fn unpack_nibbles(bytes: &[u8], scales: &mut [u8]) {
    for (i, scale) in scales.iter_mut().enumerate() {
        *scale = bytes[i / 2] >> (4 * (i % 2)) & 15;
    }
}

fn pack_nibbles(scales: &[u8], bytes: &mut [u8]) {
    for (byte, pair) in bytes.iter_mut().zip(scales.chunks_exact(2)) {
        *byte = pair[0] & 15 | pair[1] << 4;
    }
}

/// Four sign codes of seven bits below a scale of four.
fn unpack_word(bytes: &[u8], index: usize, parts: &mut PointParts) {
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    for group in 0..4 {
        parts.signs[4 * index + group] = grid::SIGNS[(word >> (7 * group) & 0x7f) as usize];
    }
    parts.scales[index] = (word >> 28) as u8;
}

fn pack_word(parts: &PointParts, index: usize, bytes: &mut [u8]) {
    let signs = (0..4).map(|group| u32::from(parts.signs[4 * index + group] & 0x7f) << (7 * group));
    let word = signs.sum::<u32>() | u32::from(parts.scales[index]) << 28;
    bytes.copy_from_slice(&word.to_le_bytes());
}

fn unpack_iq2_xxs(bytes: &[u8], parts: &mut PointParts) {
    parts.d = half(bytes, 0);
    for (index, bytes) in bytes[2..].chunks_exact(8).enumerate() {
        for (group, &byte) in bytes[..4].iter().enumerate() {
            parts.points[4 * index + group] = byte.into();
        }
        unpack_word(&bytes[4..], index, parts);
    }
}

fn pack_iq2_xxs(parts: &PointParts, bytes: &mut [u8]) {
    put_half(bytes, 0, parts.d);
    for (index, bytes) in bytes[2..].chunks_exact_mut(8).enumerate() {
        for (group, byte) in bytes[..4].iter_mut().enumerate() {
            *byte = parts.points[4 * index + group] as u8;
        }
        pack_word(parts, index, &mut bytes[4..]);
    }
}

fn unpack_iq2_xs(bytes: &[u8], parts: &mut PointParts) {
    parts.d = half(bytes, 0);
    for group in 0..32 {
        let word = u16::from_le_bytes([bytes[2 + 2 * group], bytes[3 + 2 * group]]);
        parts.points[group] = word & 0x1ff;
        parts.signs[group] = grid::SIGNS[usize::from(word >> 9)];
    }
    unpack_nibbles(&bytes[66..], &mut parts.scales);
}

fn pack_iq2_xs(parts: &PointParts, bytes: &mut [u8]) {
    put_half(bytes, 0, parts.d);
    for group in 0..32 {
        let word = parts.points[group] & 0x1ff | u16::from(parts.signs[group] & 0x7f) << 9;
        bytes[2 + 2 * group..4 + 2 * group].copy_from_slice(&word.to_le_bytes());
    }
    pack_nibbles(&parts.scales, &mut bytes[66..]);
}

fn unpack_iq2_s(bytes: &[u8], parts: &mut PointParts) {
    parts.d = half(bytes, 0);
    for group in 0..32 {
        let high = bytes[66 + group / 4] >> (2 * (group % 4)) & 3;
        parts.points[group] = u16::from_le_bytes([bytes[2 + group], high]);
    }
    parts.signs.copy_from_slice(&bytes[34..66]);
    unpack_nibbles(&bytes[74..], &mut parts.scales);
}

fn pack_iq2_s(parts: &PointParts, bytes: &mut [u8]) {
    bytes.fill(0);
    put_half(bytes, 0, parts.d);
    for group in 0..32 {
        let [low, high] = parts.points[group].to_le_bytes();
        bytes[2 + group] = low;
        bytes[66 + group / 4] |= (high & 3) << (2 * (group % 4));
    }
    bytes[34..66].copy_from_slice(&parts.signs);
    pack_nibbles(&parts.scales, &mut bytes[74..]);
}

fn unpack_iq3_xxs(bytes: &[u8], parts: &mut PointParts) {
    parts.d = half(bytes, 0);
    for (point, byte) in parts.points.iter_mut().zip(&bytes[2..66]) {
        *point = (*byte).into();
    }
    for (index, bytes) in bytes[66..].chunks_exact(4).enumerate() {
        unpack_word(bytes, index, parts);
    }
}

fn pack_iq3_xxs(parts: &PointParts, bytes: &mut [u8]) {
    put_half(bytes, 0, parts.d);
    for (point, byte) in parts.points.iter().zip(&mut bytes[2..66]) {
        *byte = *point as u8;
    }
    for (index, bytes) in bytes[66..].chunks_exact_mut(4).enumerate() {
        pack_word(parts, index, bytes);
    }
}

fn unpack_iq3_s(bytes: &[u8], parts: &mut PointParts) {
    parts.d = half(bytes, 0);
    for (i, point) in parts.points.iter_mut().enumerate() {
        let high = bytes[66 + i / 8] >> (i % 8) & 1;
        *point = u16::from_le_bytes([bytes[2 + i], high]);
    }
    parts.signs.copy_from_slice(&bytes[74..106]);
    unpack_nibbles(&bytes[106..], &mut parts.scales[..8]);
}

fn pack_iq3_s(parts: &PointParts, bytes: &mut [u8]) {
    bytes.fill(0);
    put_half(bytes, 0, parts.d);
    for (i, point) in parts.points.iter().enumerate() {
        let [low, high] = point.to_le_bytes();
        bytes[2 + i] = low;
        bytes[66 + i / 8] |= (high & 1) << (i % 8);
    }
    bytes[74..106].copy_from_slice(&parts.signs);
    pack_nibbles(&parts.scales[..8], &mut bytes[106..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Blocks that encoders made come apart and together again without a change, and decode to the values that the parts
        /// promise.
        #[test]
        fn encoded_blocks_come_apart_and_together(x in prop::collection::vec(-1.0f32..1.0, 256)) {
            for codebook in CODEBOOKS {
                let mut bytes = vec![0; codebook.ty.block_bytes()];
                crate::encode(codebook.ty, &x, 256, Some(&[1.0; 256]), &mut bytes).unwrap();
                let parts = codebook.unpack(&bytes);
                let mut again = vec![0xA5; bytes.len()];
                codebook.pack(&parts, &mut again);
                prop_assert_eq!(&again, &bytes, "{}", codebook.ty);
                let mut decoded = vec![0.0; 256];
                crate::decode(codebook.ty, &bytes, &mut decoded).unwrap();
                for (i, value) in decoded.iter().enumerate() {
                    prop_assert_eq!(codebook.value(&parts, i), *value, "{} weight {}", codebook.ty, i);
                }
            }
        }

        /// So do any parts.
        #[test]
        fn any_parts_decode_to_what_they_promise(
            d in 0.0f32..2.0,
            scales in prop::array::uniform16(0u8..16),
            points in prop::collection::vec(any::<u16>(), 64),
            signs in prop::array::uniform32(any::<u8>()),
        ) {
            for codebook in CODEBOOKS {
                let mut parts = PointParts { d: crate::f16::from_f32(d), scales, ..Default::default() };
                for (to, point) in parts.points.iter_mut().zip(&points).take(256 / codebook.dimensions) {
                    *to = point % codebook.count as u16;
                }
                parts.scales[256 / codebook.sub_block..].fill(0);
                parts.signs = signs;
                if codebook.even {
                    parts.signs = signs.map(|signs| grid::SIGNS[usize::from(signs & 0x7f)]);
                }
                let mut bytes = vec![0xA5; codebook.ty.block_bytes()];
                codebook.pack(&parts, &mut bytes);
                prop_assert_eq!(&codebook.unpack(&bytes), &parts, "{}", codebook.ty);
                let mut decoded = vec![0.0; 256];
                crate::decode(codebook.ty, &bytes, &mut decoded).unwrap();
                for (i, value) in decoded.iter().enumerate() {
                    prop_assert_eq!(codebook.value(&parts, i), *value, "{} weight {}", codebook.ty, i);
                }
            }
        }
    }
}
