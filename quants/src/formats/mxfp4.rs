//! MXFP4: 4.25 bits a weight. E2M1 floats; 32 weights share a scale that is a power of two (E8M0).
//!
//! Block (32 weights, 17 bytes): the scale's biased exponent; 16 bytes, each with weights `i` and `16 + i`. A
//! weight is `scale·value`. Values are kept doubled, to be integers, and scales halved.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::isa::{BlockOps, InstructionSet};
use crate::levels::{build, each, pack_nibbles};
use crate::round::truncate;
use crate::validate::Check;

/// The code of 0 in [`CODES`].
pub(crate) const ZERO: u8 = 12;
/// [`VALUES`] around [`ZERO`].
pub(crate) const CODES: [u8; 16] = {
    let mut codes = [0; 16];
    let mut index = 0;
    while index < 16 {
        codes[index] = (VALUES[index] + ZERO as i8) as u8;
        index += 1;
    }
    codes
};

/// E2M1 values, doubled.
pub(crate) const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    exponent: u8,
    /// Weight `i` in the low nibble of byte `i`, weight `16 + i` in its high nibble.
    qs: [u8; 16],
}

/// [`TensorType::MXFP4`].
pub(crate) struct MXFP4;

impl Decode for MXFP4 {
    const TYPE: TensorType = TensorType::MXFP4;
    const CHECK: Check = Check::E8m0;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
            let scale = half_scale(block.exponent);
            for (i, q) in block.qs.iter().enumerate() {
                y[i] = f32::from(VALUES[usize::from(q & 0xf)]) * scale;
                y[16 + i] = f32::from(VALUES[usize::from(q >> 4)]) * scale;
            }
        }
    }
}

impl Encode for MXFP4 {
    fn handles_non_finite(_with_importance: bool) -> bool {
        true
    }

    /// Encodes whole blocks; importance has no influence.
    ///
    /// The scale is two powers of two below the largest magnitude's. Below 2⁻¹²⁵ its exponent wraps around, as
    /// in ggml (where that is undefined behaviour with this outcome on x86-64), and the block decodes to zeros.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        for (x, block) in x.as_chunks::<32>().0.iter().zip(blocks_mut::<Block>(dst)) {
            let finite = isa.finite_magnitude(x);
            let largest = finite.unwrap_or_else(|| {
                x.iter()
                    .fold(0.0, |max, x| if max < x.abs() { x.abs() } else { max })
            });
            block.exponent = match largest {
                0.0 => 0,
                f32::INFINITY => truncate(f32::INFINITY) as u8,
                _ => (floor_log2(largest) - 2 + 127) as u8,
            };
            let scale = half_scale(block.exponent);
            block.qs = pack_nibbles(&nearest_values(isa, x, finite, scale));
        }
    }
}

impl Expand for MXFP4 {
    const GROUP: usize = 32;
    const ZERO: u8 = ZERO;
    const ROUNDING: Rounding = Rounding::Q8_0;

    /// Twice the values around [`ZERO`].
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            row.scales[i] = half_scale(block.exponent);
            let codes: &mut [u8; 32] = &mut row.codes.as_chunks_mut().0[i];
            *codes = build(|i| CODES[usize::from(block.qs[i % 16] >> (i / 16 * 4) & 0xf)]);
        }
    }
}

/// Half the power of two that a biased exponent stands for.
#[inline(always)]
fn half_scale(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => u32::from(exponent - 1) << 23,
    })
}

/// The first of the doubled values that is nearest to `x` at this scale.
#[inline(always)]
pub(crate) fn nearest_value(x: f32, scale: f32) -> u8 {
    let mut nearest = 0;
    let mut smallest = (f32::from(VALUES[0]) * scale - x).abs();
    for (index, value) in (1..16).zip(&VALUES[1..]) {
        let distance = (f32::from(*value) * scale - x).abs();
        if distance < smallest {
            smallest = distance;
            nearest = index;
        }
    }
    nearest
}

/// The middles between the doubled magnitudes.
const MIDDLES: [f32; 7] = [0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0];

/// [`nearest_value`] of each element, whose largest magnitude is known unless one is not finite.
///
/// Between two neighbouring magnitudes one of the two differences is exact and the other rounds to its side of the
/// middle, so that comparing with the middle decides alike, as long as products neither overflow nor underflow, and
/// weights are not so far above all values that the differences round to one number.
#[inline(always)]
pub(crate) fn nearest_values<const N: usize>(
    isa: impl BlockOps,

    x: &[f32; N],
    largest: Option<f32>,
    scale: f32,
) -> [u8; N] {
    if scale == 0.0 {
        return [0; N];
    }
    let near = largest.is_some_and(|largest| largest < FAR * scale);
    if !near || !(SMALLEST_SCALE..LARGEST_SCALE).contains(&scale) {
        return x.map(|x| nearest_value(x, scale));
    }
    // Zero has no sign: it is the first of its two codes.
    isa.signed_steps(x, &each(&MIDDLES, |middle| middle * scale))
}

/// Within these scales, products and differences with values are exact or rounded as usual.
const SMALLEST_SCALE: f32 = f32::from_bits(0x0020_0000 >> 1);
/// Scales from which on weights are far.
const FAR: f32 = 65536.0;
const LARGEST_SCALE: f32 = f32::from_bits((127 + 120) << 23);

/// ⌊log₂ x⌋ of a positive, finite `x`, as C's `floorf(log2f(x))` gives it: where the logarithm is nearer to the
/// integer above than a float can tell, it is that integer.
#[inline(always)]
fn floor_log2(x: f32) -> i32 {
    let leading = x.to_bits().leading_zeros() as i32;
    // The mantissa with its first bit at bit 23, and the exponent that this bit stands for.
    let (mantissa, exponent) = match x.to_bits() >> 23 {
        0 => (x.to_bits() << (leading - 8), -118 - leading),
        biased => (x.to_bits() & 0x007f_ffff | 0x0080_0000, biased as i32 - 127),
    };
    // Σ is k + log2(1 - missing / 2^24), about k - missing / (2^24 ln 2); floats next to k on that side are
    // 2^(binade - 23) apart, so that the logarithm rounds to k while missing <= ln 2 * 2^binade.
    let above = exponent + 1;
    let missing = (1 << 24) - mantissa;
    // The largest reach is that of 2^-149, ln 2 * 2^7.
    if missing > 88 {
        return exponent;
    }
    let binade = match above {
        0 => return exponent,
        1.. => (above as u32 - 1).checked_ilog2(),
        _ => above.unsigned_abs().checked_ilog2(),
    };
    let reach = binade.map_or(0, |binade| {
        (std::f64::consts::LN_2 * f64::from(1 << binade)) as u32
    });
    if missing <= reach { above } else { exponent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Scalar;

    #[test]
    fn middles_decide_as_distances_do() {
        let scales = (1..=247 << 3).map(|i| f32::from_bits(i << 20));
        for scale in scales.chain([SMALLEST_SCALE, SMALLEST_SCALE * 2.0]) {
            for middle in MIDDLES.iter().chain(&[
                0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 13.0, 100.0, 60_000.0, 1e6, 1e8,
            ]) {
                let at = (middle * scale).to_bits();
                let magnitudes: [f32; 16] =
                    std::array::from_fn(|i| f32::from_bits(at.saturating_add_signed(i as i32 - 8)));
                for x in [magnitudes, magnitudes.map(|x| -x)] {
                    let largest = crate::reduce::finite_magnitude(&x);
                    let expected = x.map(|x| nearest_value(x, scale));
                    assert_eq!(
                        nearest_values(Scalar, &x, largest, scale),
                        expected,
                        "{scale:e} {middle}"
                    );
                }
            }
        }
    }

    #[test]
    fn floor_of_the_logarithm_rounds_up_below_powers_of_two() {
        for exponent in -148..=127 {
            let power = 2f64.powi(exponent) as f32;
            let mut x = power;
            for _ in 0..100 {
                let expected = f64::from(x).log2() as f32;
                assert_eq!(floor_log2(x), expected.floor() as i32, "{x:e}");
                x = x.next_down();
                if x == 0.0 {
                    break;
                }
            }
            assert_eq!(
                floor_log2(power.next_up()),
                exponent + i32::from(exponent == -149)
            );
        }
        assert_eq!(floor_log2(f32::MAX), 128);
        assert_eq!(floor_log2(f32::from_bits(1)), -149);
    }
}
