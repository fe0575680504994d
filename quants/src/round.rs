//! Rounding to integers, as compiled C does it on x86-64.

/// To the nearest integer, ties to even, for magnitudes below 2^22.
///
/// Adding 1.5 * 2^23 leaves the integer in the low mantissa bits. Larger magnitudes give some other
/// integer, infinities and NaN too, always the one that ggml gets.
#[inline(always)]
pub(crate) fn nearest_int(value: f32) -> i32 {
    let shifted = value + 12_582_912.0;
    (shifted.to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// Toward zero, as the conversion instruction does it: `i32::MIN` where it does not fit.
#[inline(always)]
pub(crate) fn truncate(value: f32) -> i32 {
    // `as` saturates; no `f32` truncates to `i32::MAX`.
    match value as i32 {
        i32::MAX => i32::MIN,
        _ if value.is_nan() => i32::MIN,
        truncated => truncated,
    }
}

#[cfg(test)]
/// To the nearest integer, ties away from zero (C's `roundf`); `i32::MIN` for what does not fit.
#[inline(always)]
pub(crate) fn nearest_away(value: f32) -> i32 {
    // The largest value below one half, so that its sum with the one below one half is below one.
    truncate(value + 0.499_999_97_f32.copysign(value))
}

/// [`truncate`] for the magnitudes of levels, below 2^22 - 1, and for infinities and NaN, which become a multiple of
/// 256. In operations that vectorize.
#[inline(always)]
pub(crate) fn truncate_level(value: f32) -> i32 {
    let magnitude = value.abs();
    let shifted = magnitude + 12_582_912.0;
    let above = i32::from(shifted - 12_582_912.0 > magnitude);
    let truncated = (shifted.to_bits() & 0x007f_ffff) as i32 - 0x0040_0000 - above;
    let sign = value.to_bits() as i32 >> 31;
    if magnitude < 4_194_303.0 {
        (truncated ^ sign) - sign
    } else {
        i32::MIN
    }
}

/// [`nearest_away`] within the limits of [`truncate_level`].
#[inline(always)]
pub(crate) fn nearest_away_level(value: f32) -> i32 {
    truncate_level(value + 0.499_999_97_f32.copysign(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nearest_int_rounds_ties_to_even(value in -4_194_303.0_f32..4_194_303.0) {
            prop_assert_eq!(nearest_int(value), value.round_ties_even() as i32);
            let tie = value.trunc() / 2.0;
            prop_assert_eq!(nearest_int(tie), tie.round_ties_even() as i32);
        }

        #[test]
        fn nearest_away_is_round(value: f32) {
            let expected = value.round();
            let fits = (-2_147_483_648.0..2_147_483_648.0).contains(&expected);
            prop_assert_eq!(nearest_away(value), if fits { expected as i32 } else { i32::MIN });
        }
    }

    #[test]
    fn levels_are_truncated_alike() {
        let check = |value: f32| {
            assert_eq!(truncate_level(value), truncate(value), "{value}");
            assert_eq!(nearest_away_level(value), nearest_away(value), "{value}");
        };
        for i in -1000..1000 {
            for ulps in -3..=3 {
                let value = i as f32 / 4.0;
                check(f32::from_bits(value.to_bits().wrapping_add_signed(ulps)));
            }
        }
        for value in [f32::NAN, f32::INFINITY, -f32::INFINITY, 4e6, -4e6, 1e-45] {
            check(value);
        }
    }

    #[test]
    fn what_does_not_fit_is_the_integer_indefinite() {
        for value in [
            f32::NAN,
            f32::INFINITY,
            -f32::INFINITY,
            2_147_483_648.0,
            1e30,
            -1e30,
        ] {
            assert_eq!(truncate(value), i32::MIN);
        }
        assert_eq!(nearest_int(f32::NAN), 0);
        assert_eq!(nearest_away(0.499_999_97), 0);
        assert_eq!(nearest_away(-0.5), -1);
        assert_eq!(nearest_away(126.5), 127);
    }
}
