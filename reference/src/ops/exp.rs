//! Exponentials that compilers turn into vector code: no calls, no branches, no tables.

/// e^x. At most 1.3e-7 relative error for results in the normal range; 0 below about -87, infinity above
/// about 88.7; NaN stays NaN.
///
/// x is split into n ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, so that r is exact to the last
/// bit); e^r is a polynomial of degree 6 and 2^n goes into the exponent.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -106.0 { -106.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // 2^n in two factors, so that neither exponent overflows on the way to 0 or infinity.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let low = f32::from_bits((half.wrapping_add(127) << 23) as u32);
    let high = f32::from_bits(((n.wrapping_sub(half)).wrapping_add(127) << 23) as u32);
    p * low * high
}

/// e^x in double precision for x <= 0 (the differences to a maximum that a softmax takes), about 1e-15
/// relative error; 0 below about -708.
#[inline(always)]
pub(crate) fn exp64(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // 1.5 * 2^52
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let clamped = if x < -708.0 { -708.0 } else { x };
    let shifted = clamped * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.0 / 479_001_600.0;
    for c in [
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
    ] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    p * f64::from_bits(n.wrapping_add(1023) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_over_the_whole_range() {
        let mut worst: f64 = 0.0;
        let mut x = -87.0f32;
        while x < 88.7 {
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
            x += 0.00137;
        }
        assert!(worst < 3e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(1000.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn double_precision_below_zero() {
        let mut x = -700.0f64;
        while x <= 0.0 {
            let exact = x.exp();
            assert!((exp64(x) - exact).abs() <= 4e-15 * exact, "{x}");
            x += 0.0137;
        }
        assert_eq!(exp64(0.0), 1.0);
        assert!(exp64(f64::NEG_INFINITY) < 1e-300);
        assert!(exp64(f64::NAN).is_nan());
    }
}
