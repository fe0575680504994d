//! IQ4_NL: 4.5 bits a weight, and the search it shares with IQ4_XS. A weight is one of sixteen values that are
//! dense around zero; 32 weights share a scale.
//!
//! Block (32 weights, 18 bytes): f16 `d`; 16 bytes, each with the values' indices of weights `i` and `16 + i`.
//! A weight is `d·value`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::iq::{block_weights, part};
use crate::levels::{build, each};
use crate::product::Row;
use crate::search::kernel::{Kernel, Scalar, TILE};
use crate::search::{NEGLIGIBLE, signed_extreme, sum_of_squares};

/// The values, in order.
pub(crate) const VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
/// The middles between the values. `x - below < above - x`, which is how ggml compares, holds exactly where `x` is
/// less than the middle, because both differences are exact around it.
pub(crate) const MIDDLES: [f32; 15] = {
    let mut middles = [0.0; 15];
    let mut index = 0;
    while index < 15 {
        middles[index] = (VALUES[index] as f32 + VALUES[index + 1] as f32) / 2.0;
        index += 1;
    }
    middles
};
/// Scales tried on either side of the one that maps the extreme weight to the lowest value.
pub(crate) const TRIES: i8 = 7;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    /// Index `i` in the low nibble of byte `i`, index `16 + i` in its high nibble.
    qs: [u8; 16],
}

/// The index of the value nearest to `x`, the higher of two equally near; the highest for not-a-number.
#[inline(always)]
pub(crate) fn nearest_value(x: f32) -> u8 {
    let index = MIDDLES.iter().map(|middle| u8::from(x >= *middle)).sum();
    if x.is_nan() { 15 } else { index }
}

/// The scale that minimizes Σ weight·(x − scale·value)²; zero for a negligible block.
#[inline(always)]
pub(crate) fn fit_scale(x: &[f32; 32], weights: &[f32; 32]) -> f32 {
    let extreme = signed_extreme(x);
    if extreme.abs() < NEGLIGIBLE {
        return 0.0;
    }
    let lowest = f32::from(VALUES[0]);
    let (sum_qx, sum_q2) = moments(x, weights, 1.0 / (-extreme / lowest));
    let mut scale = if sum_q2 > 0.0 { sum_qx / sum_q2 } else { 0.0 };
    let mut best = scale * sum_qx;
    for offset in -TRIES..=TRIES {
        let (sum_qx, sum_q2) = moments(x, weights, (f32::from(offset) + lowest) / extreme);
        if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
            scale = sum_qx / sum_q2;
            best = scale * sum_qx;
        }
    }
    scale
}

/// Σ weight·x·value and Σ weight·value² with the values nearest to `inverse`·x.
#[inline(always)]
fn moments(x: &[f32; 32], weights: &[f32; 32], inverse: f32) -> (f32, f32) {
    let values = x.map(|x| f32::from(VALUES[usize::from(nearest_value(inverse * x))]));
    let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
    for i in 0..32 {
        sum_qx += weights[i] * values[i] * x[i];
        sum_q2 += weights[i] * values[i] * values[i];
    }
    (sum_qx, sum_q2)
}

/// The nearest values' indices for a block of this scale, as stored.
#[inline(always)]
pub(crate) fn pack(x: &[f32; 32], scale: f32) -> [u8; 16] {
    let inverse = if scale != 0.0 { 1.0 / scale } else { 0.0 };
    let indices = each(x, |x| nearest_value(inverse * x));
    std::array::from_fn(|i| indices[i] | indices[16 + i] << 4)
}

/// The values of a stored block times `scale`.
#[inline(always)]
pub(crate) fn unpack(qs: &[u8; 16], scale: f32, y: &mut [f32; 32]) {
    for (i, q) in qs.iter().enumerate() {
        y[i] = scale * f32::from(VALUES[usize::from(q & 0xf)]);
        y[16 + i] = scale * f32::from(VALUES[usize::from(q >> 4)]);
    }
}

/// Encodes whole blocks.
pub(crate) fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    encode_row_with::<Scalar>(x, importance, dst);
}

/// [`encode_row`] with the inner loops of an instruction set.
#[inline(always)]
pub(crate) fn encode_row_with<K: Kernel>(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
    let tiles = x.as_chunks::<32>().0.chunks(TILE);
    for (index, (x, blocks)) in tiles.zip(blocks_mut::<Block>(dst).chunks_mut(TILE)).enumerate() {
        let mut weights = [[0.0; 32]; TILE];
        for (j, x) in x.iter().enumerate() {
            let variance = sum_of_squares(x) * (2.0 / 32.0);
            weights[j] = block_weights(x, part::<32>(importance, TILE * index + j), variance, |x| x * x);
        }
        let mut scales = [0.0; TILE];
        K::fit_nonlinear(x, &weights[..x.len()], &mut scales[..x.len()]);
        for ((x, block), scale) in x.iter().zip(blocks).zip(scales) {
            block.d = Half::new(scale);
            block.qs = pack(x, scale);
        }
    }
}

/// Decodes whole blocks.
#[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
    for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
        unpack(&block.qs, block.d.get(), y);
    }
}

/// The values around [`ZERO`].
#[inline(always)]
pub(crate) fn expand_row(src: &[u8], row: Row<'_>) {
    for (i, block) in blocks::<Block>(src).iter().enumerate() {
        row.scales[i] = block.d.get();
        row.codes.as_chunks_mut().0[i] = codes(&block.qs);
    }
}

/// What is subtracted from [`codes`].
pub(crate) const ZERO: u8 = 127;

/// The values of a stored block around [`ZERO`].
#[inline(always)]
pub(crate) fn codes(qs: &[u8; 16]) -> [u8; 32] {
    const CODES: [u8; 16] = {
        let mut codes = [0; 16];
        let mut index = 0;
        while index < 16 {
            codes[index] = (VALUES[index] as i16 + ZERO as i16) as u8;
            index += 1;
        }
        codes
    };
    build(|i| CODES[usize::from(qs[i % 16] >> (i / 16 * 4) & 0xf)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: bisect, then compare the distances to both neighbours.
    fn nearest_by_distance(x: f32) -> u8 {
        let value = |index: usize| f32::from(VALUES[index]);
        let above = (1..15).find(|&index| x < value(index)).unwrap_or(15);
        if x <= value(0) {
            0
        } else if x >= value(15) {
            15
        } else if x - value(above - 1) < value(above) - x {
            above as u8 - 1
        } else {
            above as u8
        }
    }

    #[test]
    fn middles_separate_the_values() {
        for middle in MIDDLES {
            let mut x = middle;
            let mut y = middle;
            for _ in 0..100_000 {
                assert_eq!(nearest_value(x), nearest_by_distance(x), "{x}");
                assert_eq!(nearest_value(y), nearest_by_distance(y), "{y}");
                x = x.next_up();
                y = y.next_down();
            }
        }
        for x in [
            f32::NAN,
            f32::INFINITY,
            -f32::INFINITY,
            0.0,
            -0.0,
            f32::MAX,
            f32::MIN,
            f32::MIN_POSITIVE,
        ] {
            assert_eq!(nearest_value(x), nearest_by_distance(x), "{x}");
        }
    }

    proptest! {
        #[test]
        fn nearest_value_is_nearest(x in -140.0f32..140.0, any: f32) {
            prop_assert_eq!(nearest_value(x), nearest_by_distance(x));
            prop_assert_eq!(nearest_value(any), nearest_by_distance(any));
        }
    }
}
