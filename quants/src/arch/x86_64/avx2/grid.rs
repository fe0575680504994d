//! The nearest point of a codebook: candidates in lanes.

use std::arch::x86_64::*;

use super::Avx2;
use crate::grid::Kernel;

impl Kernel for Avx2 {
    #[inline(always)]
    fn nearest<const D: usize>(candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16 {
        // SAFETY: `Avx2` is used only in functions compiled with AVX2, which are called only where the CPU has it.
        unsafe { nearest(candidates, terms) }
    }
}

/// Eight candidates at a time: each axis adds the column that the candidate's level selects. A lane keeps the
/// first of its smallest sums, and the earliest of the lanes with the smallest sum wins, so that the outcome
/// is that of one candidate after another.
#[target_feature(enable = "avx2")]
#[inline]
fn nearest<const D: usize>(candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16 {
    // SAFETY: loads of eight floats from arrays of eight, and of eight u16 from arrays of eight.
    unsafe {
        let terms: [__m256; D] = std::array::from_fn(|axis| _mm256_loadu_ps(terms[axis].as_ptr()));
        let mut best = _mm256_set1_ps(f32::MAX);
        let mut nearest = _mm256_setzero_si256();
        let mut position = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        for chunk in candidates {
            let mut code = _mm256_cvtepu16_epi32(_mm_loadu_si128(chunk.as_ptr().cast()));
            let mut sum = _mm256_setzero_ps();
            for &term in &terms {
                // Both permutations look only at the lowest bits of the index: two, or three.
                if D == 8 {
                    sum = _mm256_add_ps(sum, _mm256_permutevar_ps(term, code));
                    code = _mm256_srli_epi32::<2>(code);
                } else {
                    sum = _mm256_add_ps(sum, _mm256_permutevar8x32_ps(term, code));
                    code = _mm256_srli_epi32::<3>(code);
                }
            }
            let better = _mm256_cmp_ps::<_CMP_LT_OQ>(sum, best);
            best = _mm256_blendv_ps(best, sum, better);
            nearest = _mm256_blendv_epi8(nearest, position, _mm256_castps_si256(better));
            position = _mm256_add_epi32(position, _mm256_set1_epi32(8));
        }
        let half = _mm256_min_ps(best, _mm256_permute2f128_ps::<1>(best, best));
        let quarter = _mm256_min_ps(half, _mm256_permute_ps::<0b01_00_11_10>(half));
        let smallest = _mm256_min_ps(quarter, _mm256_permute_ps::<0b10_11_00_01>(quarter));
        let winners = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(best, smallest));
        let earliest = _mm256_blendv_epi8(_mm256_set1_epi32(i32::MAX), nearest, winners);
        let half = _mm_min_epi32(
            _mm256_castsi256_si128(earliest),
            _mm256_extracti128_si256::<1>(earliest),
        );
        let quarter = _mm_min_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
        let first = _mm_min_epi32(quarter, _mm_shuffle_epi32::<0b10_11_00_01>(quarter));
        let position = _mm_cvtsi128_si32(first) as usize;
        candidates[position / 8][position % 8]
    }
}
