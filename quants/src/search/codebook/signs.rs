//! Signs of a group of eight, kept apart from its magnitudes.

use zerocopy::transmute;

use crate::isa::BlockOps;
use crate::levels::{build, each};

/// The sign byte of each 7-bit code: the eighth sign makes the number of negative ones even.
pub(crate) static SIGNS: [u8; 128] = {
    let mut signs = [0; 128];
    let mut code = 0;
    while code < 128u8 {
        signs[code as usize] = code | ((code.count_ones() as u8 & 1) << 7);
        code += 1;
    }
    signs
};

/// `-1` where bit `axis` of a sign byte is set.
#[inline(always)]
pub(crate) fn sign(signs: u8, axis: usize) -> f32 {
    if signs >> axis & 1 == 1 { -1.0 } else { 1.0 }
}

/// All bits of a byte where the bit of a sign byte is set.
static NEGATIVE: [u64; 256] = {
    let mut masks = [0; 256];
    let mut bit = 0;
    while bit < 8 * masks.len() {
        let (signs, axis) = (bit / 8, bit % 8);
        if signs >> axis & 1 == 1 {
            masks[signs] |= 0xff << (8 * axis);
        }
        bit += 1;
    }
    masks
};

/// Eight values of points, none of which is zero, with their signs. In one register: left to the compiler, several groups
/// are computed side by side and put in order again one number at a time.
#[inline(always)]
pub(crate) fn with_signs(values: [i8; 8], signs: u8) -> [i8; 8] {
    let negative = NEGATIVE[usize::from(signs)];
    // `-v` is `!v + 1`, which reaches the next byte for no value but zero.
    let signed = (u64::from_le_bytes(transmute!(values)) ^ negative) + (negative & 0x0101_0101_0101_0101);
    transmute!(signed.to_le_bytes())
}

/// A point's values with their signs, around `zero`, which is not smaller than any of them.
#[inline(always)]
pub(crate) fn signed<const D: usize>(point: &[i8; D], signs: u8, zero: u8) -> [u8; D] {
    build(|axis| {
        let value = point[axis] as u8;
        if signs >> axis & 1 == 1 {
            zero - value
        } else {
            zero + value
        }
    })
}

/// Writes the magnitudes of `x` and returns its signs. A negative zero counts as positive and stays as it is.
#[inline(always)]
pub(crate) fn fold_signs(isa: impl BlockOps, x: &[f32; 8], magnitudes: &mut [f32; 8]) -> u8 {
    *magnitudes = each(x, |x| if x >= 0.0 { x } else { -x });
    !isa.not_negative(x)
}

/// As [`fold_signs`], but the number of signs is made even by turning the weight that matters least (the first
/// with the smallest weight·x²), whose magnitude then is negative. The result is the 7-bit code of the signs.
#[inline(always)]
pub(crate) fn fold_signs_even(
    isa: impl BlockOps,
    x: &[f32; 8],
    weights: &[f32; 8],
    magnitudes: &mut [f32; 8],
) -> u8 {
    let mut signs = fold_signs(isa, x, magnitudes);
    if signs.count_ones() % 2 == 1 {
        let mut least = 0;
        let mut smallest = weights[0] * x[0] * x[0];
        for axis in 1..8 {
            let cost = weights[axis] * x[axis] * x[axis];
            if cost < smallest {
                smallest = cost;
                least = axis;
            }
        }
        magnitudes[least] = -magnitudes[least];
        signs ^= 1 << least;
    }
    signs & 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Scalar;

    #[test]
    fn sign_bytes_have_even_parity_and_keep_their_code() {
        for (code, signs) in (0u8..).zip(SIGNS) {
            assert_eq!(signs & 0x7f, code);
            assert_eq!(signs.count_ones() % 2, 0);
        }
    }

    #[test]
    fn values_get_the_signs_of_their_bits() {
        let values = [1, 4, 8, 25, 43, 62, 100, 127];
        for signs in 0..=255 {
            let signed = with_signs(values, signs);
            for axis in 0..8 {
                assert_eq!(
                    f32::from(signed[axis]),
                    f32::from(values[axis]) * sign(signs, axis)
                );
            }
        }
    }

    #[test]
    fn even_folding_turns_the_least_important_weight() {
        let x = [-4.0, 3.0, 0.5, 0.25, 2.0, 1.0, 8.0, 9.0];
        let mut magnitudes = [0.0; 8];
        let code = fold_signs_even(Scalar, &x, &[1.0; 8], &mut magnitudes);
        assert_eq!(code, 0b1001);
        for axis in 0..8 {
            assert_eq!(magnitudes[axis] * sign(SIGNS[usize::from(code)], axis), x[axis]);
        }
        assert_eq!(magnitudes[3], -0.25);
    }
}
