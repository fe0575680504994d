//! Integer products with AVX-512 VNNI.

use std::arch::x86_64::*;

use crate::isa::product::{Destination, Operands, PART, ROWS, TOKENS};
use crate::isa::x86_64::detect::Vnni;
use crate::isa::x86_64::product::product;

// Both parts of the panel together: each level that is loaded meets two registers of codes.
product!(Vnni, "avx512f,avx512bw,avx512vl,avx512vnni", pieces: 1);

/// `T` rows of activations from `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const T: usize, const GROUP: usize, const LARGE: bool, const OFFSETS: bool>(
    operands: &Operands<'_>,
    first: usize,
    _piece: usize,
    out: &mut [[f32; ROWS]; TOKENS],
) {
    let (cols, groups, row_scales) = (operands.cols, operands.groups(), operands.row_scales());
    let per_block = if LARGE { 256 / GROUP } else { groups };
    // SAFETY: `Operands::check` holds: there are as many codes, levels, scales, starts, sums and offsets as rows,
    // columns and groups say; `group` stays below `groups`, `first + T` at most the number of rows of activations, and
    // so every address inside its slice. `out` has a row for each of at most `TOKENS` rows of activations.
    unsafe {
        let mut total = [[_mm512_setzero_ps(); 2]; T];
        for block in 0..groups / per_block {
            let mut partial = if LARGE {
                [[_mm512_setzero_ps(); 2]; T]
            } else {
                total
            };
            for group in block * per_block..(block + 1) * per_block {
                let mut sums = [[_mm512_setzero_si512(); 2]; T];
                for (t, sums) in sums.iter_mut().enumerate() {
                    *sums =
                        [_mm512_set1_epi32(*operands.starts.as_ptr().add((first + t) * groups + group)); 2];
                }
                let weights = operands.panel.as_ptr().add(group * GROUP * PART);
                let levels = operands.codes.as_ptr().add(first * cols + group * GROUP);
                for quad in 0..GROUP / 4 {
                    let low = weights.add(quad * 4 * PART);
                    let high = low.add(PART * cols);
                    let (low, high) = (_mm512_loadu_si512(low.cast()), _mm512_loadu_si512(high.cast()));
                    for (t, sums) in sums.iter_mut().enumerate() {
                        let level = levels.add(t * cols + 4 * quad).cast::<i32>().read_unaligned();
                        let level = _mm512_set1_epi32(level);
                        sums[0] = _mm512_dpbusd_epi32(sums[0], low, level);
                        sums[1] = _mm512_dpbusd_epi32(sums[1], high, level);
                    }
                }
                for half in 0..2 {
                    let scales = _mm512_loadu_ps(operands.scales.as_ptr().add(group * ROWS + 16 * half));
                    let offsets = if OFFSETS {
                        _mm512_loadu_ps(operands.offsets.as_ptr().add(group * ROWS + 16 * half))
                    } else {
                        scales
                    };
                    for t in 0..T {
                        let sum = _mm512_cvtepi32_ps(sums[t][half]);
                        let into = &mut partial[t][half];
                        if LARGE {
                            *into = _mm512_fmadd_ps(sum, scales, *into);
                        } else {
                            let x_scale =
                                _mm512_set1_ps(*operands.x_scales.as_ptr().add((first + t) * groups + group));
                            *into = _mm512_fmadd_ps(_mm512_mul_ps(sum, scales), x_scale, *into);
                        }
                        if OFFSETS {
                            let x_sum =
                                _mm512_set1_ps(*operands.sums.as_ptr().add((first + t) * groups + group));
                            *into = _mm512_fmadd_ps(offsets, x_sum, *into);
                        }
                    }
                }
            }
            if LARGE {
                for t in 0..T {
                    let x_scale =
                        _mm512_set1_ps(*operands.x_scales.as_ptr().add((first + t) * row_scales + block));
                    for half in 0..2 {
                        total[t][half] = _mm512_fmadd_ps(partial[t][half], x_scale, total[t][half]);
                    }
                }
            } else {
                total = partial;
            }
        }
        for (total, out) in total.iter().zip(out.iter_mut()) {
            _mm512_storeu_ps(out.as_mut_ptr(), total[0]);
            _mm512_storeu_ps(out.as_mut_ptr().add(16), total[1]);
        }
    }
}
