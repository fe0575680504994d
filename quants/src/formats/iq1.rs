//! What IQ1_S and IQ1_M share: splitting a block in three, and placing its groups on the codebook.
//!
//! A weight is one of -1, 0 and 1, all shifted by ±⅛, times a scale. Weights are sorted; the best split of
//! the sorted weights into three runs, over both shifts, is found by trying all of them. Groups of eight
//! levels are then moved to points of the codebook.

use crate::levels::each;
use crate::search::codebook::{self as grid, Grid, Place, error_terms, level};
use crate::search::kernel::Kernel;

/// The shift of the values.
pub(crate) const DELTA: f32 = 0.125;
/// The values of the levels with the shift up, and down.
pub(crate) const UP: [f32; 3] = [DELTA - 1.0, DELTA, DELTA + 1.0];
/// See [`UP`].
pub(crate) const DOWN: [f32; 3] = [-DELTA - 1.0, -DELTA, 1.0 - DELTA];

/// What stands for 0 in [`eighths`].
pub(crate) const ZERO: u8 = 9;

/// The values of a point, shifted down or up, in eighths around [`ZERO`].
#[inline(always)]
pub(crate) fn eighths(point: u16, down: bool) -> [u8; 8] {
    let point = &grid::IQ1[usize::from(point)];
    let shifted = if down { ZERO - 1 } else { ZERO + 1 };
    each(point, |value| (8 * value + shifted as i8) as u8)
}

/// The indices of the weights in ascending order; equal weights (zeros of either sign among them) stay in
/// order. Not-a-number goes to the ends.
#[inline(always)]
pub(crate) fn ascending<const N: usize>(x: &[f32; N]) -> [u8; N] {
    // In two's complement, whose order is that of the weights.
    let keys: [i32; N] = std::array::from_fn(|i| {
        let bits = (x[i] + 0.0).to_bits() as i32;
        (bits ^ (bits >> 31) & i32::MAX).min(i32::MAX - 1)
    });
    // How many come before each: counted, not sorted, since that is the same work for every block. Of equal ones
    // the earlier comes before: they compare with the next higher key.
    let later: &[[i32; N]; N] = const {
        let mut later = [[0; N]; N];
        let mut j = 0;
        while j < N {
            let mut i = j + 1;
            while i < N {
                later[j][i] = 1;
                i += 1;
            }
            j += 1;
        }
        &{ later }
    };
    let mut ranks = [0i32; N];
    for (&other, later) in keys.iter().zip(later) {
        for i in 0..N {
            ranks[i] += i32::from(other < keys[i] + later[i]);
        }
    }
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
pub(crate) fn place_groups<K: Kernel, const G: usize>(
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

/// Running sums over a sorted block of `N` from its first element on, with more of the last one after it than lanes
/// can read.
pub(crate) struct Sums<const N: usize>([f32; 48]);

impl<const N: usize> Sums<N> {
    /// All zero.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        const { assert!(N + 1 + 8 <= 48) };
        Self([0.0; 48])
    }

    /// Appends the next sum.
    #[inline(always)]
    pub(crate) fn push(&mut self, position: usize, sum: f32) {
        self.0[position + 1] = sum;
    }

    /// Repeats the last sum behind the end.
    #[inline(always)]
    pub(crate) fn finish(&mut self) {
        let total = self.0[N];
        self.0[N + 1..].fill(total);
    }

    /// The sum of all elements before a position.
    #[inline(always)]
    pub(crate) fn at(&self, position: usize) -> f32 {
        self.0[position]
    }

    /// The sums from a position on, eight of them, the last repeated.
    #[inline(always)]
    pub(crate) fn from(&self, position: usize) -> &[f32] {
        &self.0[position..position + 8]
    }

    /// Whether no sum is below the one before it; false if there is not-a-number.
    #[inline(always)]
    pub(crate) fn ascend(&self) -> bool {
        let steps = self.0[..N].iter().zip(&self.0[1..=N]);
        steps.fold(true, |all, (before, after)| all & (before <= after))
    }

    /// The sum of all.
    #[inline(always)]
    pub(crate) fn total(&self) -> f32 {
        self.0[N]
    }
}

/// The best split of a sorted block in three runs, with a shift for each of `H` parts.
pub(crate) struct Split<const H: usize> {
    pub(crate) scale: f32,
    /// The positions before which the second and the third run begin.
    pub(crate) at: (usize, usize),
    /// Whether the values are shifted up.
    pub(crate) up: [bool; H],
}

/// All splits of `len` sorted elements into three runs, by first and second boundary.
fn splits(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..=len).flat_map(move |first| (first..=len).map(move |second| (first, second)))
}

/// The best of all splits into three runs, with either shift; `None` if all weights of error are zero.
#[inline(always)]
pub(crate) fn best_split(sums_x: &Sums<32>, sums_w: &Sums<32>) -> Option<Split<1>> {
    let mut best = f32::MIN;
    let mut split = None;
    for (first, second) in splits(32) {
        let runs = |sums: &Sums<32>| {
            let (low, middle) = (sums.at(first), sums.at(second));
            [low, middle - low, sums.total() - middle]
        };
        let (runs_x, runs_w) = (runs(sums_x), runs(sums_w));
        for (values, up) in [(&UP, true), (&DOWN, false)] {
            let sum_qx = runs_x[0] * values[0] + runs_x[1] * values[1] + runs_x[2] * values[2];
            let sum_q2 = runs_w[0] * values[0] * values[0]
                + runs_w[1] * values[1] * values[1]
                + runs_w[2] * values[2] * values[2];
            if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                let scale = sum_qx / sum_q2;
                best = scale * sum_qx;
                split = Some(Split {
                    scale,
                    at: (first, second),
                    up: [up],
                });
            }
        }
    }
    split
}

/// The directions of the shifts of a block's two halves, in the order in which they are tried.
pub(crate) const SHIFTS: [[bool; 2]; 4] = [[true, true], [true, false], [false, true], [false, false]];

/// How much a weight adds to Σ weight·value² when it falls below the first boundary, and the second.
const fn steps(values: [f32; 3]) -> [f32; 2] {
    let squares = [
        values[0] * values[0],
        values[1] * values[1],
        values[2] * values[2],
    ];
    [squares[0] - squares[1], squares[1] - squares[2]]
}
pub(crate) const STEPS_UP: [f32; 2] = steps(UP);
pub(crate) const STEPS_DOWN: [f32; 2] = steps(DOWN);

/// The best of all splits into three runs, with all four combinations of the halves' shifts; `None` if all
/// weights of error are zero.
///
/// With values one apart, the sums for a split come from sums over everything and over what is below each
/// boundary; these are kept for each half.
#[inline(always)]
pub(crate) fn best_split_of_halves(sums_x: &[Sums<16>; 2], sums_w: &[Sums<16>; 2]) -> Option<Split<2>> {
    let mut best = f32::MIN;
    let mut split = None;
    for (first, second) in splits(16) {
        let sums = |values: &[f32; 3], steps: [f32; 2], half: usize| {
            let (x, w) = (&sums_x[half], &sums_w[half]);
            let top = values[2];
            let below = x.at(first) + x.at(second);
            let sum_q2 = w.total() * top * top + w.at(first) * steps[0] + w.at(second) * steps[1];
            (x.total() * top - below, sum_q2)
        };
        let up = [0, 1].map(|half| sums(&UP, STEPS_UP, half));
        let down = [0, 1].map(|half| sums(&DOWN, STEPS_DOWN, half));
        for shifts in SHIFTS {
            let halves: [(f32, f32); 2] =
                std::array::from_fn(|half| if shifts[half] { up[half] } else { down[half] });
            let (sum_qx, sum_q2) = (halves[0].0 + halves[1].0, halves[0].1 + halves[1].1);
            if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                let scale = sum_qx / sum_q2;
                best = scale * sum_qx;
                split = Some(Split {
                    scale,
                    at: (first, second),
                    up: shifts,
                });
            }
        }
    }
    split
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
