//! TQ2_0: 2.0625 bits a weight. Ternary weights, four to a byte; 256 weights share a scale.
//!
//! Block (256 weights, 66 bytes): 64 bytes of four levels, f16 `d`. A weight is `d·(level − 1)`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::levels::{build, each};
use crate::product::Row;
use crate::search::finite_magnitude;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    /// Level `n` of byte `m` is weight `32·n + m` of each half.
    qs: [[u8; 32]; 2],
    d: Half,
}

/// The largest magnitude, not-a-number counting as whatever follows it.
#[inline(always)]
pub(crate) fn largest_magnitude(x: &[f32; 256]) -> f32 {
    finite_magnitude(x).unwrap_or_else(|| {
        x.iter()
            .fold(0.0, |max, x| if max > x.abs() { max } else { x.abs() })
    })
}

/// The ternary level of a weight scaled to -1..=1, one half and above in magnitude away from zero. What is not
/// in that range, as the inverse of a subnormal scale makes it, is level 1.
#[inline(always)]
pub(crate) fn trit(scaled: f32) -> u8 {
    if scaled.abs() < 1.5 {
        1 + u8::from(scaled >= 0.5) - u8::from(scaled <= -0.5)
    } else {
        1
    }
}

/// Encodes whole blocks; importance has no influence.
#[inline(always)]
pub(crate) fn encode_row(x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
    for (x, block) in x.as_chunks::<256>().0.iter().zip(blocks_mut::<Block>(dst)) {
        let d = largest_magnitude(x);
        let inverse = if d != 0.0 { 1.0 / d } else { 0.0 };
        for (x, qs) in x.as_chunks::<128>().0.iter().zip(&mut block.qs) {
            *qs = build(|byte| {
                (0..4)
                    .map(|level| trit(x[32 * level + byte] * inverse) << (2 * level))
                    .sum()
            });
        }
        block.d = Half::new(d);
    }
}

/// Decodes whole blocks.
#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
        let d = block.d.get();
        for (qs, y) in block.qs.iter().zip(y.as_chunks_mut::<128>().0) {
            for (level, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for (y, byte) in y.iter_mut().zip(qs) {
                    *y = f32::from((byte >> (2 * level) & 3) as i8 - 1) * d;
                }
            }
        }
    }
}

/// Levels around 1.
#[inline(always)]
pub(crate) fn expand_row(src: &[u8], row: Row<'_>) {
    for (i, block) in blocks::<Block>(src).iter().enumerate() {
        row.scales[8 * i..][..8].fill(block.d.get());
        for j in 0..8 {
            let codes: &mut [u8; 32] = &mut row.codes.as_chunks_mut().0[8 * i + j];
            *codes = each(&block.qs[j / 4], |byte| byte >> (2 * (j % 4)) & 3);
        }
    }
}
