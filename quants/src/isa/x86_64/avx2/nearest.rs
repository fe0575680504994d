//! The nearest point of a codebook, candidates in lanes.

use std::arch::x86_64::*;

/// Eight candidates at a time: each axis adds the column that the candidate's level selects. A lane keeps the
/// first of its smallest sums, and the earliest of the lanes with the smallest sum wins, so that the outcome
/// is that of one candidate after another.
///
/// With `CLEAR`, a lane also keeps its second smallest sum. The winner is clear if, of all these, its sum alone
/// is not above the smallest one plus the margin (the candidate that fills up the last chunk never is).
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn nearest<const D: usize, const CLEAR: bool>(
    candidates: &[[u16; 8]],
    terms: &[[f32; 8]; D],
    margin: f32,
) -> (u16, bool) {
    // SAFETY: loads of eight floats from arrays of eight, and of eight u16 from arrays of eight.
    unsafe {
        let mut columns = [_mm256_setzero_ps(); D];
        for axis in 0..D {
            columns[axis] = _mm256_loadu_ps(terms[axis].as_ptr());
        }
        let mut best = _mm256_set1_ps(f32::MAX);
        let mut second = best;
        let mut nearest = _mm256_setzero_si256();
        let mut position = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        for chunk in candidates {
            let mut code = _mm256_cvtepu16_epi32(_mm_loadu_si128(chunk.as_ptr().cast()));
            let mut sum = _mm256_setzero_ps();
            for &column in &columns {
                // Both permutations look only at the lowest bits of the index: two, or three.
                if D == 8 {
                    sum = _mm256_add_ps(sum, _mm256_permutevar_ps(column, code));
                    code = _mm256_srli_epi32::<2>(code);
                } else {
                    sum = _mm256_add_ps(sum, _mm256_permutevar8x32_ps(column, code));
                    code = _mm256_srli_epi32::<3>(code);
                }
            }
            if CLEAR {
                // Of NaN, the second operand stays.
                second = _mm256_min_ps(_mm256_max_ps(sum, best), second);
            }
            let better = _mm256_cmp_ps::<_CMP_LT_OQ>(sum, best);
            best = _mm256_blendv_ps(best, sum, better);
            nearest = _mm256_blendv_epi8(nearest, position, _mm256_castps_si256(better));
            position = _mm256_add_epi32(position, _mm256_set1_epi32(8));
        }
        chosen::<CLEAR>(candidates, best, second, nearest, margin)
    }
}

/// The winner of all lanes, of their smallest sums, second smallest sums and the positions of the smallest, and whether it
/// is clear.
#[target_feature(enable = "avx2")]
#[inline]
pub(in crate::isa::x86_64) fn chosen<const CLEAR: bool>(
    candidates: &[[u16; 8]],
    best: __m256,
    second: __m256,
    nearest: __m256i,
    margin: f32,
) -> (u16, bool) {
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
    let clear = CLEAR && {
        let limit = _mm256_add_ps(smallest, _mm256_set1_ps(margin));
        // A comparison with NaN counts as near.
        let near = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGT_UQ>(best, limit)) as u32;
        let seconds = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGT_UQ>(second, limit));
        near.is_power_of_two() && seconds == 0
    };
    (candidates[position / 8][position % 8], clear)
}
