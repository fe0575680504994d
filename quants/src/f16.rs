//! Conversions between `f32` and the 16-bit float formats.
//!
//! These are the only ones in the crate: encoders and decoders all go through them, so that bytes
//! agree with ggml's. They are written without branches, to be vectorized.

/// Exponent bits of `f32`, which are those of infinity.
const F32_INFINITY: u32 = 0x7f80_0000;
/// Exponent bits of half precision, which are those of infinity.
const F16_INFINITY: u32 = 0x7c00;
/// The difference of the exponent biases of `f32` and half precision, in place for an `f32`.
const REBIAS: u32 = (127 - 15) << 23;
/// One half: its last mantissa bit has the value of half precision's smallest subnormal.
const HALF: f32 = 0.5;

/// Half precision to `f32`, exactly. Signaling NaNs become quiet.
#[inline(always)]
pub fn to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = u32::from(half & 0x7fff);
    let shifted = magnitude << 13;
    let subnormal = (f32::from_bits(HALF.to_bits() | magnitude) - HALF).to_bits();
    let special = shifted | F32_INFINITY | if magnitude > F16_INFINITY { 0x0040_0000 } else { 0 };
    let finite = if magnitude < 0x0400 {
        subnormal
    } else {
        shifted + REBIAS
    };
    f32::from_bits(sign | if magnitude < F16_INFINITY { finite } else { special })
}

/// `f32` to half precision, to nearest with ties to even. Every NaN becomes the quiet one
/// without payload, with its sign, as in ggml.
#[inline(always)]
pub fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Adding one half aligns the last mantissa bit to the smallest subnormal, and rounds.
    let subnormal = (f32::from_bits(magnitude) + HALF)
        .to_bits()
        .wrapping_sub(HALF.to_bits());
    let rounded = magnitude + 0x0fff + ((magnitude >> 13) & 1);
    let normal = (rounded >> 13).wrapping_sub(REBIAS >> 13).min(F16_INFINITY);
    let finite = if magnitude < (127 - 14) << 23 {
        subnormal
    } else {
        normal
    };
    let half = if magnitude > F32_INFINITY { 0x7e00 } else { finite };
    (sign | half) as u16
}

/// Brain float to `f32`, exactly.
#[inline(always)]
pub fn bf16_to_f32(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// `f32` to brain float, to nearest with ties to even. A NaN keeps its upper payload and
/// becomes quiet.
#[inline(always)]
pub fn bf16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let quiet = (bits >> 16) | 0x40;
    // Infinity has a zero mantissa, so that the sum overflows for NaN alone.
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let is_nan = bits & 0x7fff_ffff > F32_INFINITY;
    (if is_nan { quiet } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_reads_as_in_the_half_crate() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            assert_eq!(to_f32(bits).to_bits(), expected.to_bits(), "{bits:#06x}");
            let expected = half::bf16::from_bits(bits).to_f32();
            assert_eq!(bf16_to_f32(bits).is_nan(), expected.is_nan());
            if !expected.is_nan() {
                assert_eq!(bf16_to_f32(bits).to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn writing_agrees_with_the_half_crate() {
        // Every exponent, with mantissas around the rounding boundaries.
        for exponent in 0..=255_u32 {
            for upper in 0..1024_u32 {
                for lower in [0, 1, 0x0fff, 0x1000, 0x1001, 0x1fff] {
                    for sign in [0, 0x8000_0000] {
                        let bits = sign | exponent << 23 | upper << 13 | lower;
                        let value = f32::from_bits(bits);
                        if value.is_nan() {
                            assert_eq!(u32::from(from_f32(value)), sign >> 16 | 0x7e00);
                            assert_eq!(u32::from(bf16_from_f32(value)), bits >> 16 | 0x40, "{bits:#010x}");
                        } else {
                            let expected = half::f16::from_f32(value).to_bits();
                            assert_eq!(from_f32(value), expected, "{bits:#010x}");
                            let expected = half::bf16::from_f32(value).to_bits();
                            assert_eq!(bf16_from_f32(value), expected, "{bits:#010x}");
                        }
                    }
                }
            }
        }
    }
}
