//! The nearest points of a codebook for two tables of error terms.

use std::arch::x86_64::*;

use crate::isa::x86_64::avx2::nearest::chosen;

/// [`crate::isa::x86_64::avx2::nearest::nearest`] for two tables at once: the candidates and the terms of each in half of a
/// register. Lists of candidates are short, and sixteen of them at once would leave many lanes empty.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline]
pub(super) fn nearest_pair<const D: usize, const CLEAR: bool>(
    candidates: &[[u16; 8]],
    terms: [&[[f32; 8]; D]; 2],
    margin: f32,
) -> [(u16, bool); 2] {
    // SAFETY: loads of eight floats from arrays of eight, and of eight u16 from arrays of eight.
    unsafe {
        let mut columns = [_mm512_setzero_ps(); D];
        for axis in 0..D {
            let [low, high] = terms.map(|terms| _mm256_loadu_ps(terms[axis].as_ptr()));
            columns[axis] = _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high);
        }
        let mut best = _mm512_set1_ps(f32::MAX);
        let mut second = best;
        let mut nearest = _mm512_setzero_si512();
        let mut position = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
        let lowest = _mm512_set1_epi32(7);
        let half = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8);
        for chunk in candidates {
            let code = _mm256_cvtepu16_epi32(_mm_loadu_si128(chunk.as_ptr().cast()));
            let mut code = _mm512_broadcast_i32x8(code);
            let mut sum = _mm512_setzero_ps();
            for &column in &columns {
                if D == 8 {
                    // The lowest two bits of the index, in each quarter of the register.
                    sum = _mm512_add_ps(sum, _mm512_permutevar_ps(column, code));
                    code = _mm512_srli_epi32::<2>(code);
                } else {
                    // `code & 7 | half`
                    let index = _mm512_ternarylogic_epi32::<0xea>(code, lowest, half);
                    sum = _mm512_add_ps(sum, _mm512_permutexvar_ps(index, column));
                    code = _mm512_srli_epi32::<3>(code);
                }
            }
            if CLEAR {
                // Of NaN, the second operand stays.
                second = _mm512_min_ps(_mm512_max_ps(sum, best), second);
            }
            let better = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(sum, best);
            best = _mm512_mask_mov_ps(best, better, sum);
            nearest = _mm512_mask_mov_epi32(nearest, better, position);
            position = _mm512_add_epi32(position, _mm512_set1_epi32(8));
        }
        let low = chosen::<CLEAR>(
            candidates,
            _mm512_castps512_ps256(best),
            _mm512_castps512_ps256(second),
            _mm512_castsi512_si256(nearest),
            margin,
        );
        let high = chosen::<CLEAR>(
            candidates,
            _mm512_extractf32x8_ps::<1>(best),
            _mm512_extractf32x8_ps::<1>(second),
            _mm512_extracti32x8_epi32::<1>(nearest),
            margin,
        );
        [low, high]
    }
}
