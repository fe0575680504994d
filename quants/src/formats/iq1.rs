//! The common part of IQ1_S and IQ1_M: splitting a block in three, and placing its groups on the codebook.
//!
//! A weight is one of -1, 0 and 1, all shifted by ±⅛, times a scale. Weights are sorted; the best split of
//! the sorted weights into three runs, over both shifts, is found by trying all of them. Groups of eight
//! levels are then moved to points of the codebook.

use crate::isa::BlockOps;
use crate::levels::{build, code_level, each};
use crate::search::codebook::{self, Grid, Place, error_terms};

/// The code of 0 in [`eighths`].
pub(crate) const ZERO: u8 = 9;

/// The values of a point, shifted down or up, in eighths around [`ZERO`].
#[inline(always)]
pub(crate) fn eighths(point: u16, down: bool) -> [u8; 8] {
    let point = &codebook::IQ1[usize::from(point)];
    let shifted = if down { ZERO - 1 } else { ZERO + 1 };
    each(point, |value| (8 * value + shifted as i8) as u8)
}

/// The indices of the weights in ascending order; equal weights (zeros of either sign among them) stay in
/// order. NaN goes to the ends.
#[inline(always)]
pub(crate) fn ascending<const N: usize>(isa: impl BlockOps, x: &[f32; N]) -> [u8; N] {
    // In two's complement, whose order is that of the weights.
    let keys: [i32; N] = build(|i| {
        let bits = (x[i] + 0.0).to_bits() as i32;
        (bits ^ (bits >> 31) & i32::MAX).min(i32::MAX - 1)
    });
    // How many come before each: counted, not sorted, since that is the same work for every block.
    let ranks = isa.ranks(&keys);
    let mut order = [0; N];
    for (index, rank) in ranks.into_iter().enumerate() {
        order[rank as usize % N] = index as u8;
    }
    order
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

/// The code of a group's levels.
#[inline(always)]
pub(crate) fn code_of(levels: &[u8; 8]) -> u16 {
    (0..8).map(|axis| u16::from(levels[axis]) << (2 * axis)).sum()
}

/// Places a block's groups, given by the codes of their levels, on the codebook, each with its shift's values.
/// Returns the points, and the scale of least squares for them: the one given if all groups were points already, or
/// if it would not be positive.
#[inline(always)]
pub(crate) fn place_groups<const G: usize>(
    isa: impl BlockOps,
    grid: &Grid<8>,
    x: &[[f32; 8]],
    weights: &[[f32; 8]],
    mut codes: [u16; G],
    values: &[&[f32; 3]; G],
    scale: f32,
) -> ([u16; G], f32) {
    let mut all_on_grid = true;
    for group in 0..G {
        codes[group] = match grid.locate(codes[group]) {
            Place::On => continue,
            Place::Off(candidates) => {
                all_on_grid = false;
                let values = std::array::from_fn(|column| values[group][(column % 4).min(2)]);
                isa.nearest_point(
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
            let value = values[group][code_level::<8>(codes[group], axis)];
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
    use crate::isa::Scalar;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ascending_is_a_stable_sort(x in proptest::array::uniform16(-3i8..3), zero in 0usize..16) {
            let mut x = x.map(f32::from);
            x[zero] = -0.0;
            let mut expected: [u8; 16] = std::array::from_fn(|i| i as u8);
            expected.sort_by(|&a, &b| x[usize::from(a)].partial_cmp(&x[usize::from(b)]).unwrap());
            prop_assert_eq!(ascending(Scalar, &x), expected);
        }
    }
}
