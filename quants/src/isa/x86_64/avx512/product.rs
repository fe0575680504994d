//! Integer products with AVX-512 VNNI.

use std::arch::x86_64::*;

use crate::isa::product::{Operands, ROWS, TOKENS};
use crate::isa::x86_64::detect::Vnni;

impl Vnni {
    /// The product of a panel with rows of activations, as [`crate::isa::product::multiply`] specifies it.
    #[inline(always)]
    pub(crate) fn multiply(self, operands: &Operands<'_>, out: &mut [[f32; ROWS]; TOKENS]) {
        operands.check();
        // SAFETY: `self` proves the features, and the operands have been checked.
        unsafe { multiply(operands, out) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn multiply(operands: &Operands<'_>, out: &mut [[f32; ROWS]; TOKENS]) {
    // SAFETY: as for this function.
    unsafe {
        match (operands.group, operands.large, operands.with_offsets) {
            (16, true, false) => rows::<16, true, false>(operands, out),
            (16, true, true) => rows::<16, true, true>(operands, out),
            (16, false, false) => rows::<16, false, false>(operands, out),
            (16, false, true) => rows::<16, false, true>(operands, out),
            (_, true, false) => rows::<32, true, false>(operands, out),
            (_, true, true) => rows::<32, true, true>(operands, out),
            (_, false, false) => rows::<32, false, false>(operands, out),
            (_, false, true) => rows::<32, false, true>(operands, out),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<const GROUP: usize, const LARGE: bool, const OFFSETS: bool>(
    operands: &Operands<'_>,
    out: &mut [[f32; ROWS]; TOKENS],
) {
    // SAFETY: as for this function.
    unsafe {
        match operands.rows {
            1 => tile::<1, GROUP, LARGE, OFFSETS>(operands, out),
            2 => tile::<2, GROUP, LARGE, OFFSETS>(operands, out),
            3 => tile::<3, GROUP, LARGE, OFFSETS>(operands, out),
            4 => tile::<4, GROUP, LARGE, OFFSETS>(operands, out),
            _ => {}
        }
    }
}

/// `T` rows of activations.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const T: usize, const GROUP: usize, const LARGE: bool, const OFFSETS: bool>(
    operands: &Operands<'_>,
    out: &mut [[f32; ROWS]; TOKENS],
) {
    let (cols, groups, row_scales) = (operands.cols, operands.groups(), operands.row_scales());
    let per_block = if LARGE { 256 / GROUP } else { groups };
    // SAFETY: `Operands::check` holds: there are as many codes, levels, scales, starts, sums and offsets as rows,
    // columns and groups say; `group` stays below `groups`, and so every address inside its slice. `out` has a row
    // for each of at most `TOKENS` rows of activations.
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
                    *sums = [_mm512_set1_epi32(*operands.starts.as_ptr().add(t * groups + group)); 2];
                }
                let weights = operands.panel.as_ptr().add(group * GROUP * ROWS);
                let levels = operands.codes.as_ptr().add(group * GROUP);
                for quad in 0..GROUP / 4 {
                    let low = _mm512_loadu_si512(weights.add(quad * 4 * ROWS).cast());
                    let high = _mm512_loadu_si512(weights.add(quad * 4 * ROWS + 64).cast());
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
                            let x_scale = _mm512_set1_ps(*operands.x_scales.as_ptr().add(t * groups + group));
                            *into = _mm512_fmadd_ps(_mm512_mul_ps(sum, scales), x_scale, *into);
                        }
                        if OFFSETS {
                            let x_sum = _mm512_set1_ps(*operands.sums.as_ptr().add(t * groups + group));
                            *into = _mm512_fmadd_ps(offsets, x_sum, *into);
                        }
                    }
                }
            }
            if LARGE {
                for t in 0..T {
                    let x_scale = _mm512_set1_ps(*operands.x_scales.as_ptr().add(t * row_scales + block));
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
