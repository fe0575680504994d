//! The specification: a scale of one block for sixteen values that are dense around zero.

use crate::reduce::{NEGLIGIBLE, signed_extreme};

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

/// The index of the value nearest to `x`, the higher of two equally near; the highest for NaN.
#[inline(always)]
pub(crate) fn nearest_value(x: f32) -> u8 {
    let index = MIDDLES.iter().map(|middle| u8::from(x >= *middle)).sum();
    if x.is_nan() { 15 } else { index }
}

/// The scale that minimizes Σ weight·(x − scale·value)²; zero for a negligible block.
#[inline(always)]
pub(crate) fn fit(x: &[f32; 32], weights: &[f32; 32]) -> f32 {
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
