//! Searches with sub-blocks, or candidates, in lanes, for any instruction set.
//!
//! Each lane does what the scalar search does for one sub-block, operation for operation and in the same order,
//! so the outcome is the same to the bit. They expect weights that are finite: [`crate::isa::dispatch`] leaves rows
//! that are not to the scalar code.

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Sub};

use crate::isa::pair::Twice;
#[cfg(any(test, target_arch = "aarch64"))]
pub(super) use crate::isa::portable::Portable;
use crate::search::affine::lanes as affine;
use crate::search::nonlinear::lanes as iq4;
use crate::search::positive::lanes as positive;
use crate::search::split::lanes as split;
use crate::search::symmetric::lanes as symmetric;

use crate::formats::iq1::{Split, Sums};
use crate::search::kernel::{Kernel, Nearest, Pass, Scalar, pass_on};
use crate::search::{AffineFit, Candidates};

/// Some `f32`, each in a lane.
pub(crate) trait Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// A truth for each lane.
    type Mask: Copy;
    /// An `i32` in each lane.
    type Int: Copy;

    /// How many lanes there are: slices that are read or written have this length.
    const COUNT: usize;

    fn splat(value: f32) -> Self;
    fn load(values: &[f32]) -> Self;
    fn store(self, values: &mut [f32]);
    fn abs(self) -> Self;
    fn neg(self) -> Self;
    /// `other` where `self` is not below it, not-a-number included.
    fn min(self, other: Self) -> Self;
    /// `other` where `self` is not above it, not-a-number included.
    fn max(self, other: Self) -> Self;
    fn less(self, other: Self) -> Self::Mask;
    fn at_least(self, other: Self) -> Self::Mask;
    fn equal(self, other: Self) -> Self::Mask;
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// See [`crate::round::nearest_int`].
    fn nearest_int(self) -> Self::Int;
    /// Element `i` of each row, for all `i`.
    fn columns<const N: usize>(rows: &[[f32; N]]) -> [Self; N];
    /// The table's values at the lowest three bits of each lane.
    fn lookup(table: &[f32; 8], index: Self::Int) -> Self;

    fn splat_int(value: i32) -> Self::Int;
    fn store_int(value: Self::Int, values: &mut [i32]);
    fn to_float(value: Self::Int) -> Self;
    fn clamp(value: Self::Int, low: i32, high: i32) -> Self::Int;
    fn low_byte(value: Self::Int) -> Self::Int;
    fn int_equal(value: Self::Int, other: Self::Int) -> Self::Mask;
    fn int_select(mask: Self::Mask, yes: Self::Int, no: Self::Int) -> Self::Int;
    /// `2 * value`, plus one where the mask is true.
    fn append(value: Self::Int, bit: Self::Mask) -> Self::Int;
    /// `256 * value + byte`; the byte has no higher bits.
    fn append_byte(value: Self::Int, byte: Self::Int) -> Self::Int;

    fn and(mask: Self::Mask, other: Self::Mask) -> Self::Mask;
    fn or(mask: Self::Mask, other: Self::Mask) -> Self::Mask;
    /// `mask`, but false where `other` is true.
    fn and_not(mask: Self::Mask, other: Self::Mask) -> Self::Mask;
    fn any(mask: Self::Mask) -> bool;
    /// A bit for each lane, the first in the lowest.
    fn bits(mask: Self::Mask) -> u32;
}

/// To the nearest integer, ties to even, for magnitudes below 2^22: [`crate::round::nearest_int`] as a float.
#[inline(always)]
pub(crate) fn round<L: Lanes>(x: L) -> L {
    let shift = L::splat(12_582_912.0);
    x + shift - shift
}

/// Writes lane `j` of the chosen level `i` to `levels[j][i]`.
#[inline(always)]
pub(crate) fn store_levels<L: Lanes, const N: usize>(levels: &mut [[u8; N]], chosen: &[L::Int; N]) {
    for (four, chosen) in chosen.as_chunks::<4>().0.iter().enumerate() {
        let mut lanes = [0; MOST_LANES];
        let bytes = L::append_byte(L::append_byte(chosen[3], chosen[2]), chosen[1]);
        L::store_int(L::append_byte(bytes, chosen[0]), &mut lanes[..L::COUNT]);
        for (levels, lane) in levels.iter_mut().zip(lanes) {
            levels.as_chunks_mut::<4>().0[four] = lane.to_le_bytes();
        }
    }
}

/// The most lanes that there are.
pub(crate) const MOST_LANES: usize = 16;

/// The [`Kernel`] of an instruction set with lanes.
pub(super) struct Wide<L>(PhantomData<L>);

/// Runs `$body` with as many sub-blocks as there are lanes, twice as many where possible: a search waits for its
/// own results, and two fill each other's waits. `$lanes` is the type of the lanes, `$range` the sub-blocks. What
/// is left over is filled up with zeros.
macro_rules! in_lanes {
    ($count:expr, |$lanes:ident, $range:ident| $body:expr, |$rest:ident| $padded:expr) => {{
        let count = $count;
        let mut start = 0;
        while count - start >= 2 * L::COUNT {
            type $lanes<L> = Twice<L>;
            let $range = start..start + 2 * L::COUNT;
            $body;
            start += 2 * L::COUNT;
        }
        while count - start >= L::COUNT {
            type $lanes<L> = L;
            let $range = start..start + L::COUNT;
            $body;
            start += L::COUNT;
        }
        if start < count {
            let $rest = start..count;
            $padded;
        }
    }};
}

/// The rows of a range, with zeros to fill the lanes.
#[inline(always)]
fn padded<T: Copy, const N: usize>(rows: &[[T; N]], zero: T) -> [[T; N]; 8] {
    let mut padded = [[zero; N]; 8];
    padded[..rows.len()].copy_from_slice(rows);
    padded
}

impl<L: Nearest> Nearest for Wide<L> {
    #[inline(always)]
    fn nearest<const D: usize>(candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16 {
        L::nearest(candidates, terms)
    }
    #[inline(always)]
    fn clearly_nearest<const D: usize>(
        candidates: &[[u16; 8]],
        terms: &[[f32; 8]; D],
        margin: f32,
    ) -> (u16, bool) {
        L::clearly_nearest(candidates, terms, margin)
    }

    #[inline(always)]
    fn prefetch(candidates: &[u16; 8]) {
        L::prefetch(candidates)
    }
}

impl<L: Pass> Pass for Wide<L> {
    pass_on!(L);
}

impl<L: Lanes + Nearest + Pass> Kernel for Wide<L> {
    #[inline(always)]
    fn fit_affine<const N: usize>(
        x: &[[f32; N]],
        weights: &[[f32; N]],
        max_level: i32,
        candidates: Candidates,
        levels: &mut [[u8; N]],
        fits: &mut [AffineFit],
    ) {
        in_lanes!(
            x.len(),
            |Lane, r| affine::fit::<Lane<L>, N>(
                &x[r.clone()],
                &weights[r.clone()],
                max_level,
                candidates,
                &mut levels[r.clone()],
                &mut fits[r]
            ),
            |r| {
                let mut padded_levels = [[0; N]; 8];
                let mut padded_fits = [AffineFit::default(); 8];
                affine::fit::<L, N>(
                    &padded(&x[r.clone()], 0.0),
                    &padded(&weights[r.clone()], 0.0),
                    max_level,
                    candidates,
                    &mut padded_levels,
                    &mut padded_fits,
                );
                levels[r.clone()].copy_from_slice(&padded_levels[..r.len()]);
                fits[r.clone()].copy_from_slice(&padded_fits[..r.len()]);
            }
        );
        // The sign of a not-a-number, which is stored, depends on the order of an addition's operands, and that
        // is the compiler's choice: only the scalar code itself agrees with the scalar code.
        if fits.iter().any(|fit| fit.scale.is_nan() || fit.min.is_nan()) {
            Scalar::fit_affine(x, weights, max_level, candidates, levels, fits);
        }
    }

    #[inline(always)]
    fn fit_symmetric<const N: usize>(
        x: &[[f32; N]],
        max_level: i32,
        weights: &[[f32; N]],
        levels: &mut [[u8; N]],
        scales: &mut [f32],
    ) {
        in_lanes!(
            x.len(),
            |Lane, r| symmetric::fit::<Lane<L>, N>(
                &x[r.clone()],
                max_level,
                &weights[r.clone()],
                &mut levels[r.clone()],
                &mut scales[r]
            ),
            |r| for i in r {
                scales[i] = symmetric::fit_one::<L, N>(&x[i], max_level, &weights[i], &mut levels[i]);
            }
        );
        if scales.iter().any(|scale| scale.is_nan()) {
            Scalar::fit_symmetric(x, max_level, weights, levels, scales);
        }
    }

    #[inline(always)]
    fn descend_symmetric<const N: usize>(
        x: &[[f32; N]],
        max_level: i32,
        levels: &mut [[u8; N]],
        scales: &mut [f32],
    ) {
        for start in (0..x.len()).step_by(symmetric::DESCENDED) {
            let r = start..x.len().min(start + symmetric::DESCENDED);
            symmetric::descend::<Twice<L>, N>(
                &x[r.clone()],
                max_level,
                &mut levels[r.clone()],
                &mut scales[r],
            );
        }
        if scales.iter().any(|scale| scale.is_nan()) {
            Scalar::descend_symmetric(x, max_level, levels, scales);
        }
    }

    #[inline(always)]
    fn fit_positive<const N: usize>(
        x: &[[f32; N]],
        max_level: i32,
        weights: &[[f32; N]],
        levels: &mut [[u8; N]],
        scales: &mut [f32],
    ) {
        in_lanes!(
            x.len(),
            |Lane, r| positive::fit::<Lane<L>, N>(
                &x[r.clone()],
                max_level,
                &weights[r.clone()],
                &mut levels[r.clone()],
                &mut scales[r]
            ),
            |r| {
                let mut padded_levels = [[0; N]; 8];
                let mut padded_scales = [0.0; 8];
                positive::fit::<L, N>(
                    &padded(&x[r.clone()], 0.0),
                    max_level,
                    &padded(&weights[r.clone()], 0.0),
                    &mut padded_levels,
                    &mut padded_scales,
                );
                levels[r.clone()].copy_from_slice(&padded_levels[..r.len()]);
                scales[r.clone()].copy_from_slice(&padded_scales[..r.len()]);
            }
        );
        if scales.iter().any(|scale| scale.is_nan()) {
            Scalar::fit_positive(x, max_level, weights, levels, scales);
        }
    }

    #[inline(always)]
    fn fit_nonlinear(x: &[[f32; 32]], weights: &[[f32; 32]], scales: &mut [f32]) {
        in_lanes!(
            x.len(),
            |Lane, r| iq4::fit::<Lane<L>>(&x[r.clone()], &weights[r.clone()], &mut scales[r]),
            |r| {
                let mut padded_scales = [0.0; 8];
                iq4::fit::<L>(
                    &padded(&x[r.clone()], 0.0),
                    &padded(&weights[r.clone()], 0.0),
                    &mut padded_scales,
                );
                scales[r.clone()].copy_from_slice(&padded_scales[..r.len()]);
            }
        );
        if scales.iter().any(|scale| scale.is_nan()) {
            Scalar::fit_nonlinear(x, weights, scales);
        }
    }

    #[inline(always)]
    fn best_split(sums_x: &Sums<32>, sums_w: &Sums<32>) -> Option<Split<1>> {
        split::best::<L>(sums_x, sums_w)
    }

    #[inline(always)]
    fn best_split_of_halves(sums_x: &[Sums<16>; 2], sums_w: &[Sums<16>; 2]) -> Option<Split<2>> {
        split::best_of_halves::<L>(sums_x, sums_w)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Portable, Wide};
    use crate::codec::{Importance, SCALAR};
    use crate::tests::hard_rows;

    // Every machine of these architectures has the feature.
    #[cfg(target_arch = "x86_64")]
    crate::isa::dispatch::specialize!("sse2", Wide<Portable>);
    #[cfg(target_arch = "aarch64")]
    crate::isa::dispatch::specialize!("neon", Wide<Portable>);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The portable lanes are what NEON has; here they are tested wherever the tests run.
        #[test]
        fn portable_lanes_agree_with_scalar((row, importance) in hard_rows()) {
            for scalar in SCALAR {
                let (Some((encode_row, _)), Some(scalar_row)) = (specialize(scalar.ty), scalar.encode_row) else {
                    continue;
                };
                for importance in [Some(&importance[..]), None] {
                    if importance.is_none() && scalar.importance == Importance::Required {
                        continue;
                    }
                    let mut expected = vec![0; row.len() / scalar.ty.block_len() * scalar.ty.block_bytes()];
                    let mut found = vec![0xaa; expected.len()];
                    scalar_row(&row, importance, &mut expected);
                    encode_row(&row, importance, &mut found);
                    prop_assert!(expected == found, "{}, importance: {}", scalar.ty, importance.is_some());
                }
            }
        }
    }
}
