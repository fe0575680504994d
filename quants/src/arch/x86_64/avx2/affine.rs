//! The search for scales and minima, eight sub-blocks at a time: one in each lane.
//!
//! Every lane does what the scalar `fit_affine` does, operation for operation.

use std::arch::x86_64::*;

use crate::search::{AffineFit, Candidates, ErrorMeasure, fit_affine};

/// The AVX2 [`crate::search::FitAffine8`]. Only for machines with AVX2.
pub(super) fn fit_affine_8<const N: usize>(
    x: &[[f32; N]; 8],
    weights: &[[f32; N]; 8],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [[u8; N]; 8],
) -> [AffineFit; 8] {
    debug_assert!(crate::Isa::Avx2.is_available());
    let fits = match candidates.measure {
        // SAFETY: the table names this function only where AVX2 was detected.
        ErrorMeasure::Squared => unsafe { fit::<N, false>(x, weights, max_level, candidates, levels) },
        // SAFETY: as above.
        ErrorMeasure::Absolute => unsafe { fit::<N, true>(x, weights, max_level, candidates, levels) },
    };
    if fits.iter().all(|f| !f.scale.is_nan() && !f.min.is_nan()) {
        return fits;
    }
    // The sign of a not-a-number, which is stored, depends on the order of an addition's operands, and that
    // is the compiler's choice: only the scalar code itself agrees with the scalar code.
    std::array::from_fn(|j| fit_affine(&x[j], &weights[j], max_level, candidates, &mut levels[j]))
}

/// Element `i` of all eight sub-blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn gather<const N: usize>(x: &[[f32; N]; 8], i: usize) -> __m256 {
    _mm256_setr_ps(
        x[0][i], x[1][i], x[2][i], x[3][i], x[4][i], x[5][i], x[6][i], x[7][i],
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn to_array(lanes: __m256) -> [f32; 8] {
    let mut array = [0.0; 8];
    // SAFETY: the destination holds eight floats, and the store needs no alignment.
    unsafe { _mm256_storeu_ps(array.as_mut_ptr(), lanes) };
    array
}

/// The levels of one element, as integers (see `crate::round::nearest_int`).
#[inline]
#[target_feature(enable = "avx2")]
fn levels_of(x: __m256, inverse: __m256, min: __m256, max_level: __m256i) -> __m256i {
    let scaled = _mm256_mul_ps(inverse, _mm256_sub_ps(x, min));
    let shifted = _mm256_castps_si256(_mm256_add_ps(scaled, _mm256_set1_ps(12_582_912.0)));
    let integer = _mm256_sub_epi32(
        _mm256_and_si256(shifted, _mm256_set1_epi32(0x007f_ffff)),
        _mm256_set1_epi32(0x0040_0000),
    );
    _mm256_min_epi32(_mm256_max_epi32(integer, _mm256_setzero_si256()), max_level)
}

/// The weighted error of `scale * level + min`.
#[inline]
#[target_feature(enable = "avx2")]
fn error<const N: usize, const ABSOLUTE: bool>(
    x: &[__m256; N],
    weights: &[__m256; N],
    levels: &[__m256; N],
    scale: __m256,
    min: __m256,
) -> __m256 {
    let sign = _mm256_set1_ps(-0.0);
    let mut sum = _mm256_setzero_ps();
    for i in 0..N {
        let fitted = _mm256_add_ps(_mm256_mul_ps(scale, levels[i]), min);
        let difference = _mm256_sub_ps(fitted, x[i]);
        let measured = if ABSOLUTE {
            _mm256_andnot_ps(sign, difference)
        } else {
            _mm256_mul_ps(difference, difference)
        };
        sum = _mm256_add_ps(sum, _mm256_mul_ps(weights[i], measured));
    }
    sum
}

#[target_feature(enable = "avx2")]
fn fit<const N: usize, const ABSOLUTE: bool>(
    x: &[[f32; N]; 8],
    weights: &[[f32; N]; 8],
    max_level: i32,
    candidates: Candidates,
    levels: &mut [[u8; N]; 8],
) -> [AffineFit; 8] {
    let zero = _mm256_setzero_ps();
    let mut x_lanes = [zero; N];
    let mut w_lanes = [zero; N];
    for i in 0..N {
        x_lanes[i] = gather(x, i);
        w_lanes[i] = gather(weights, i);
    }
    let (x, weights) = (&x_lanes, &w_lanes);

    let mut min = x[0];
    let mut max = x[0];
    let mut sum_w = weights[0];
    let mut sum_x = _mm256_mul_ps(sum_w, x[0]);
    for i in 1..N {
        // The second operand stays where the comparison fails, as for a not-a-number.
        min = _mm256_min_ps(x[i], min);
        max = _mm256_max_ps(x[i], max);
        sum_w = _mm256_add_ps(sum_w, weights[i]);
        sum_x = _mm256_add_ps(sum_x, _mm256_mul_ps(weights[i], x[i]));
    }
    min = _mm256_min_ps(zero, min);
    let flat = _mm256_cmp_ps::<_CMP_EQ_OQ>(max, min);
    let flat_min = min;

    let top = _mm256_set1_epi32(max_level);
    let top_float = _mm256_set1_ps(max_level as f32);
    let mut best_inverse = _mm256_div_ps(top_float, _mm256_sub_ps(max, min));
    let mut best_start = min;
    let mut scale = _mm256_div_ps(_mm256_set1_ps(1.0), best_inverse);
    let mut candidate = [zero; N];
    for i in 0..N {
        candidate[i] = _mm256_cvtepi32_ps(levels_of(x[i], best_inverse, min, top));
    }
    let mut best = error::<N, ABSOLUTE>(x, weights, &candidate, scale, min);
    for step in 0..=candidates.last {
        let spread = candidates.first + candidates.step * f32::from(step) + max_level as f32;
        let inverse = _mm256_div_ps(_mm256_set1_ps(spread), _mm256_sub_ps(max, min));
        let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
        for i in 0..N {
            let level = _mm256_cvtepi32_ps(levels_of(x[i], inverse, min, top));
            candidate[i] = level;
            let weighted = _mm256_mul_ps(weights[i], level);
            sum_l = _mm256_add_ps(sum_l, weighted);
            sum_l2 = _mm256_add_ps(sum_l2, _mm256_mul_ps(weighted, level));
            sum_xl = _mm256_add_ps(sum_xl, _mm256_mul_ps(weighted, x[i]));
        }
        let determinant = _mm256_sub_ps(_mm256_mul_ps(sum_w, sum_l2), _mm256_mul_ps(sum_l, sum_l));
        let solvable = _mm256_cmp_ps::<_CMP_GT_OQ>(determinant, zero);
        if _mm256_movemask_ps(solvable) == 0 {
            continue;
        }
        let this_scale = _mm256_div_ps(
            _mm256_sub_ps(_mm256_mul_ps(sum_w, sum_xl), _mm256_mul_ps(sum_x, sum_l)),
            determinant,
        );
        let this_min = _mm256_div_ps(
            _mm256_sub_ps(_mm256_mul_ps(sum_l2, sum_x), _mm256_mul_ps(sum_l, sum_xl)),
            determinant,
        );
        let above = _mm256_cmp_ps::<_CMP_GT_OQ>(this_min, zero);
        let this_min = _mm256_blendv_ps(this_min, zero, above);
        let this_scale = _mm256_blendv_ps(this_scale, _mm256_div_ps(sum_xl, sum_l2), above);
        let this_error = error::<N, ABSOLUTE>(x, weights, &candidate, this_scale, this_min);
        let better = _mm256_and_ps(solvable, _mm256_cmp_ps::<_CMP_LT_OQ>(this_error, best));
        best = _mm256_blendv_ps(best, this_error, better);
        best_inverse = _mm256_blendv_ps(best_inverse, inverse, better);
        // The levels of this candidate start from the minimum before it.
        best_start = _mm256_blendv_ps(best_start, min, better);
        scale = _mm256_blendv_ps(scale, this_scale, better);
        min = _mm256_blendv_ps(min, this_min, better);
    }

    // Levels are a function of the inverse scale and the start: those of the best are made again.
    let used = _mm256_andnot_si256(_mm256_castps_si256(flat), _mm256_set1_epi32(-1));
    for i in 0..N {
        let chosen = _mm256_and_si256(levels_of(x[i], best_inverse, best_start, top), used);
        let mut lanes = [0_u32; 8];
        // SAFETY: the destination holds eight integers, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), chosen) };
        for j in 0..8 {
            levels[j][i] = lanes[j] as u8;
        }
    }
    let scales = to_array(_mm256_andnot_ps(flat, scale));
    let mins = to_array(_mm256_xor_ps(
        _mm256_blendv_ps(min, flat_min, flat),
        _mm256_set1_ps(-0.0),
    ));
    std::array::from_fn(|j| AffineFit {
        scale: scales[j],
        min: mins[j],
    })
}
