//! What IQ1_S and IQ1_M share: splitting a block in three, and placing its groups on the codebook.
//!
//! A weight is one of -1, 0 and 1, all shifted by ±⅛, times a scale. Weights are sorted; the best split of
//! the sorted weights into three runs, over both shifts, is found by trying all of them. Groups of eight
//! levels are then moved to points of the codebook.

use crate::grid::{Grid, Kernel, Place, error_terms, level};

/// The shift of the values.
pub(crate) const DELTA: f32 = 0.125;
/// The values of the levels with the shift up, and down.
pub(crate) const UP: [f32; 3] = [DELTA - 1.0, DELTA, DELTA + 1.0];
/// See [`UP`].
pub(crate) const DOWN: [f32; 3] = [-DELTA - 1.0, -DELTA, 1.0 - DELTA];

/// The indices of the weights in ascending order; equal weights (zeros of either sign among them) stay in
/// order. Not-a-number goes to the ends.
#[inline(always)]
pub(crate) fn ascending<const N: usize>(x: &[f32; N]) -> [u8; N] {
    let mut keys: [u64; N] = std::array::from_fn(|i| {
        let bits = (x[i] + 0.0).to_bits();
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        u64::from(ordered) << 8 | i as u64
    });
    keys.sort_unstable();
    keys.map(|key| key as u8)
}

/// The levels of a block whose sorted weights are split before positions `first` and `second`; mirrored for
/// a negative scale.
#[inline(always)]
pub(crate) fn split_levels<const N: usize>(
    order: &[u8; N],
    (first, second): (usize, usize),
    mirrored: bool,
) -> [u8; N] {
    let mut levels = [0; N];
    for (position, &index) in order.iter().enumerate() {
        let level = u8::from(position >= first) + u8::from(position >= second);
        levels[usize::from(index)] = if mirrored { 2 - level } else { level };
    }
    levels
}

/// Places a block's groups on the codebook, each with its shift's values. Returns the points, and the scale of
/// least squares for them: the one given if all groups were points already, or if it would not be positive.
#[inline(always)]
pub(crate) fn place_groups<K: Kernel, const G: usize>(
    grid: &Grid<8>,
    x: &[[f32; 8]],
    weights: &[[f32; 8]],
    levels: &[[u8; 8]],
    values: &[&[f32; 3]; G],
    scale: f32,
) -> ([u16; G], f32) {
    let mut codes = [0; G];
    let mut all_on_grid = true;
    for group in 0..G {
        let code = (0..8)
            .map(|axis| u16::from(levels[group][axis]) << (2 * axis))
            .sum();
        codes[group] = match grid.locate(code) {
            Place::On => code,
            Place::Off(candidates) => {
                all_on_grid = false;
                let values = std::array::from_fn(|column| values[group][(column % 4).min(2)]);
                K::nearest(
                    candidates,
                    &error_terms(&values, &x[group], &weights[group], scale),
                )
            }
        };
    }
    let points = codes.map(|code| grid.index(code));
    if all_on_grid {
        return (points, scale);
    }
    let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
    for group in 0..G {
        for axis in 0..8 {
            let value = values[group][level::<8>(codes[group], axis)];
            let weight = weights[group][axis];
            sum_qx += weight * value * x[group][axis];
            sum_q2 += weight * value * value;
        }
    }
    let better = sum_qx > 0.0 && sum_q2 > 0.0;
    (points, if better { sum_qx / sum_q2 } else { scale })
}

/// The largest magnitude.
#[inline(always)]
pub(crate) fn largest_magnitude(x: &[f32]) -> f32 {
    x.iter()
        .fold(x[0].abs(), |max, x| if max > x.abs() { max } else { x.abs() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ascending_is_a_stable_sort(x in proptest::array::uniform16(-3i8..3), zero in 0usize..16) {
            let mut x = x.map(f32::from);
            x[zero] = -0.0;
            let mut expected: [u8; 16] = std::array::from_fn(|i| i as u8);
            expected.sort_by(|&a, &b| x[usize::from(a)].partial_cmp(&x[usize::from(b)]).unwrap());
            prop_assert_eq!(ascending(&x), expected);
        }
    }
}
