//! Integer products with AVX2.
//!
//! Codes and levels are widened to 16 bits, which `vpmaddwd` multiplies without saturation.

use std::arch::x86_64::*;

use crate::isa::product::{Destination, Operands, ROWS, TOKENS};
use crate::isa::x86_64::detect::Fma;
use crate::isa::x86_64::product::product;

// Eight rows of the panel are a part.
product!(Fma, "avx2,fma", parts: ROWS / 8);

/// `T` rows of activations from `first` on with eight rows of the panel.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const T: usize, const GROUP: usize, const LARGE: bool, const OFFSETS: bool>(
    operands: &Operands<'_>,
    first: usize,
    part: usize,
    out: &mut [[f32; ROWS]; TOKENS],
) {
    let (cols, groups, row_scales) = (operands.cols, operands.groups(), operands.row_scales());
    let per_block = if LARGE { 256 / GROUP } else { groups };
    // SAFETY: `Operands::check` holds: there are as many codes, levels, scales, starts, sums and offsets as rows,
    // columns and groups say; `part` is below 4, `group` below `groups`, and `first + T` at most the number of rows of
    // activations, and so every address lies inside its slice.
    unsafe {
        let mut total = [_mm256_setzero_ps(); T];
        for block in 0..groups / per_block {
            let mut partial = if LARGE { [_mm256_setzero_ps(); T] } else { total };
            for group in block * per_block..(block + 1) * per_block {
                let weights = operands.panel.as_ptr().add(group * GROUP * ROWS + 32 * part);
                let levels = operands.codes.as_ptr().add(first * cols + group * GROUP);
                // Of each row two sums: of the first and of the second two of each four columns.
                let mut sums = [[_mm256_setzero_si256(); 2]; T];
                for quad in 0..GROUP / 4 {
                    let at = weights.add(quad * 4 * ROWS);
                    let low = _mm256_cvtepu8_epi16(_mm_loadu_si128(at.cast()));
                    let high = _mm256_cvtepu8_epi16(_mm_loadu_si128(at.add(16).cast()));
                    for (t, sums) in sums.iter_mut().enumerate() {
                        let level = levels.add(t * cols + 4 * quad).cast::<i32>().read_unaligned();
                        let level = _mm256_cvtepi8_epi16(_mm_set1_epi32(level));
                        sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(low, level));
                        sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(high, level));
                    }
                }
                let scales = _mm256_loadu_ps(operands.scales.as_ptr().add(group * ROWS + 8 * part));
                for t in 0..T {
                    let at = (first + t) * groups + group;
                    let start = _mm256_set1_epi32(*operands.starts.as_ptr().add(at));
                    // Rows 0 1 4 5 2 3 6 7.
                    let both = _mm256_hadd_epi32(sums[t][0], sums[t][1]);
                    let sum = _mm256_add_epi32(_mm256_permute4x64_epi64::<0b11_01_10_00>(both), start);
                    let sum = _mm256_cvtepi32_ps(sum);
                    let into = &mut partial[t];
                    if LARGE {
                        *into = _mm256_fmadd_ps(sum, scales, *into);
                    } else {
                        let x_scale = _mm256_set1_ps(*operands.x_scales.as_ptr().add(at));
                        *into = _mm256_fmadd_ps(_mm256_mul_ps(sum, scales), x_scale, *into);
                    }
                    if OFFSETS {
                        let offsets = _mm256_loadu_ps(operands.offsets.as_ptr().add(group * ROWS + 8 * part));
                        let x_sum = _mm256_set1_ps(*operands.sums.as_ptr().add(at));
                        *into = _mm256_fmadd_ps(offsets, x_sum, *into);
                    }
                }
            }
            if LARGE {
                for t in 0..T {
                    let x_scale =
                        _mm256_set1_ps(*operands.x_scales.as_ptr().add((first + t) * row_scales + block));
                    total[t] = _mm256_fmadd_ps(partial[t], x_scale, total[t]);
                }
            } else {
                total = partial;
            }
        }
        for (total, out) in total.iter().zip(out.iter_mut()) {
            _mm256_storeu_ps(out.as_mut_ptr().add(8 * part), *total);
        }
    }
}
