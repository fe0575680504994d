//! Integer products with AVX2.
//!
//! `vpmaddubsw` multiplies codes without signs with levels and adds pairs, in 16 bits. Levels are at most 127 in magnitude,
//! so how many of its results fit into 16 bits depends on the largest code alone: those of eight quads of columns for codes
//! up to 16, none for codes of eight bits, whose magnitudes are multiplied with levels that have taken their signs.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use crate::isa::product::{Destination, Operands, PART, ROWS, TOKENS};
use crate::isa::x86_64::detect::Fma;
use crate::isa::x86_64::product::product;

// One part of the panel after the other: each level that is loaded meets two registers of codes.
product!(Fma, "avx2,fma", pieces: 2);

/// The largest magnitude of a level.
const LARGEST_LEVEL: i32 = 127;

/// Results of `vpmaddubsw` whose sum fits into 16 bits, for codes up to `largest`: 4, 2, 1 or 0; 8 where a group is as long.
fn run(largest: u8, group: usize) -> usize {
    let fit = i32::from(i16::MAX) / (2 * LARGEST_LEVEL * i32::from(largest).max(1));
    match fit {
        8.. if group == 32 => 8,
        4.. => 4,
        2.. => 2,
        1 => 1,
        _ => 0,
    }
}

/// `T` rows of activations from `first` on with sixteen rows of the panel.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const T: usize, const GROUP: usize, const LARGE: bool, const OFFSETS: bool>(
    operands: &Operands<'_>,
    first: usize,
    part: usize,
    out: &mut [[f32; PART]; TOKENS],
) {
    // SAFETY: as for this function.
    unsafe {
        match run(operands.largest, GROUP) {
            8 => scaled::<T, GROUP, LARGE, OFFSETS, 8>(operands, first, part, out),
            4 => scaled::<T, GROUP, LARGE, OFFSETS, 4>(operands, first, part, out),
            2 => scaled::<T, GROUP, LARGE, OFFSETS, 2>(operands, first, part, out),
            1 => scaled::<T, GROUP, LARGE, OFFSETS, 1>(operands, first, part, out),
            _ => scaled::<T, GROUP, LARGE, OFFSETS, 0>(operands, first, part, out),
        }
    }
}

/// Groups whose sums are kept before they are scaled: those of a block of activations, where it is large.
const KEPT: usize = 16;

/// [`tile`] for codes of which `RUN` results fit into 16 bits.
///
/// Sums come first, those of all groups of a block, and then scales: either fits into registers alone.
#[target_feature(enable = "avx2,fma")]
unsafe fn scaled<
    const T: usize,
    const GROUP: usize,
    const LARGE: bool,
    const OFFSETS: bool,
    const RUN: usize,
>(
    operands: &Operands<'_>,
    first: usize,
    part: usize,
    out: &mut [[f32; PART]; TOKENS],
) {
    let (cols, groups, row_scales) = (operands.cols, operands.groups(), operands.row_scales());
    // SAFETY: `Operands::check` holds: there are as many codes, levels, scales, starts, sums and offsets as rows,
    // columns and groups say; `part` is below 2, `group` below `groups`, and `first + T` at most the number of rows of
    // activations, and so every address lies inside its slice.
    unsafe {
        let mut kept = [const { MaybeUninit::<[[__m256i; 2]; T]>::uninit() }; KEPT];
        let mut total = [[_mm256_setzero_ps(); 2]; T];
        for block in (0..groups).step_by(256 / GROUP) {
            let kept = &mut kept[..(256 / GROUP).min(groups - block)];
            let weights = operands
                .panel
                .as_ptr()
                .add(part * PART * cols + block * GROUP * PART);
            let levels = operands.codes.as_ptr().add(first * cols + block * GROUP);
            for (group, kept) in kept.iter_mut().enumerate() {
                let weights = weights.add(group * GROUP * PART);
                let levels = levels.add(group * GROUP);
                // The length of a group is no constant here: loops over its quads stay loops, whose sums all fit into
                // registers.
                kept.write(match RUN {
                    0 => signed_sums::<T>(weights, levels, cols, operands.group, operands.zero),
                    1 | 2 => short_sums::<T, RUN>(weights, levels, cols, operands.group),
                    _ => long_sums::<T, GROUP, RUN>(weights, levels, cols),
                });
            }
            let mut partial = if LARGE {
                [[_mm256_setzero_ps(); 2]; T]
            } else {
                total
            };
            for (group, sums) in kept.iter().enumerate() {
                let (group, sums) = (block + group, sums.assume_init_ref());
                let rows = group * ROWS + PART * part;
                let two = |of: &[f32]| {
                    let at = of.as_ptr().add(rows);
                    [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))]
                };
                let scales = two(operands.scales);
                let offsets = if OFFSETS { two(operands.offsets) } else { scales };
                for t in 0..T {
                    let at = (first + t) * groups + group;
                    let start = _mm256_set1_epi32(*operands.starts.as_ptr().add(at));
                    for half in 0..2 {
                        let mut sum = sums[t][half];
                        // Codes with offsets begin at zero (see `Form`).
                        if RUN > 0 && !OFFSETS {
                            sum = _mm256_add_epi32(sum, start);
                        }
                        let sum = _mm256_cvtepi32_ps(sum);
                        let into = &mut partial[t][half];
                        if LARGE {
                            *into = _mm256_fmadd_ps(sum, scales[half], *into);
                        } else {
                            let x_scale = _mm256_set1_ps(*operands.x_scales.as_ptr().add(at));
                            *into = _mm256_fmadd_ps(_mm256_mul_ps(sum, scales[half]), x_scale, *into);
                        }
                        if OFFSETS {
                            let x_sum = _mm256_set1_ps(*operands.sums.as_ptr().add(at));
                            *into = _mm256_fmadd_ps(offsets[half], x_sum, *into);
                        }
                    }
                }
            }
            if LARGE {
                for t in 0..T {
                    let x_scale = (first + t) * row_scales + block / (256 / GROUP);
                    let x_scale = _mm256_set1_ps(*operands.x_scales.as_ptr().add(x_scale));
                    for half in 0..2 {
                        total[t][half] = _mm256_fmadd_ps(partial[t][half], x_scale, total[t][half]);
                    }
                }
            } else {
                total = partial;
            }
        }
        for (total, out) in total.iter().zip(out.iter_mut()) {
            _mm256_storeu_ps(out.as_mut_ptr(), total[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), total[1]);
        }
    }
}

/// The sums of a group for sixteen rows, of which `RUN` (4 or 8) results fit into 16 bits.
///
/// # Safety
/// `weights` has `GROUP / 4` quads of columns of a part; `levels` has `T` rows of `GROUP` levels, `cols` apart.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn long_sums<const T: usize, const GROUP: usize, const RUN: usize>(
    weights: *const u8,
    levels: *const i8,
    cols: usize,
) -> [[__m256i; 2]; T] {
    // SAFETY: as for this function.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_si256(); 2]; T];
        for run in (0..GROUP / 4).step_by(RUN) {
            let mut pairs = [[_mm256_setzero_si256(); 2]; T];
            for quad in run..run + RUN {
                let codes = quad_of_codes(weights, quad);
                for (t, pairs) in pairs.iter_mut().enumerate() {
                    let levels = quad_of_levels(levels.add(t * cols), quad);
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(codes[half], levels);
                        pairs[half] = in_order(_mm256_add_epi16(pairs[half], products));
                    }
                }
            }
            for (sums, pairs) in sums.iter_mut().zip(pairs) {
                for half in 0..2 {
                    sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(pairs[half], ones));
                }
            }
        }
        sums
    }
}

/// As [`long_sums`], for a `RUN` of 1 or 2: sums in 32 bits stay in registers, and those in 16 bits are short-lived.
///
/// # Safety
/// As for [`long_sums`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn short_sums<const T: usize, const RUN: usize>(
    weights: *const u8,
    levels: *const i8,
    cols: usize,
    group: usize,
) -> [[__m256i; 2]; T] {
    // SAFETY: as for this function.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_si256(); 2]; T];
        for run in 0..group / 4 / RUN {
            let first = quad_of_codes(weights, run * RUN);
            let last = quad_of_codes(weights, run * RUN + RUN - 1);
            for (t, sums) in sums.iter_mut().enumerate() {
                let levels = levels.add(t * cols);
                let of_first = quad_of_levels(levels, run * RUN);
                let mut pairs = first.map(|codes| _mm256_maddubs_epi16(codes, of_first));
                if RUN == 2 {
                    let of_last = quad_of_levels(levels, run * RUN + 1);
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(last[half], of_last);
                        pairs[half] = _mm256_add_epi16(pairs[half], products);
                    }
                }
                for half in 0..2 {
                    sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(pairs[half], ones));
                }
            }
        }
        sums
    }
}

/// The sums of a group for sixteen rows whose codes have eight bits, with `zero` already taken from them: codes are at
/// most 128 from it.
///
/// # Safety
/// As for [`long_sums`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn signed_sums<const T: usize>(
    weights: *const u8,
    levels: *const i8,
    cols: usize,
    group: usize,
    zero: u8,
) -> [[__m256i; 2]; T] {
    // SAFETY: as for this function.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let zero = _mm256_set1_epi8(zero as i8);
        let mut sums = [[_mm256_setzero_si256(); 2]; T];
        for quad in 0..group / 4 {
            let values = quad_of_codes(weights, quad).map(|codes| _mm256_sub_epi8(codes, zero));
            let magnitudes = values.map(|values| _mm256_abs_epi8(values));
            for (t, sums) in sums.iter_mut().enumerate() {
                let levels = quad_of_levels(levels.add(t * cols), quad);
                for half in 0..2 {
                    let signed = _mm256_sign_epi8(levels, values[half]);
                    let pairs = _mm256_maddubs_epi16(magnitudes[half], signed);
                    sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(pairs, ones));
                }
            }
        }
        sums
    }
}

/// Four codes of each of sixteen rows.
///
/// # Safety
/// There are the columns of `quad` of a part from `weights` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn quad_of_codes(weights: *const u8, quad: usize) -> [__m256i; 2] {
    // SAFETY: as for this function.
    unsafe {
        let at = weights.add(quad * 4 * PART);
        [
            _mm256_loadu_si256(at.cast()),
            _mm256_loadu_si256(at.add(32).cast()),
        ]
    }
}

/// The same sum, as one that is not to be taken apart: unrolled sums otherwise become trees of more numbers than there
/// are registers.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn in_order(mut sum: __m256i) -> __m256i {
    // SAFETY: no instruction.
    unsafe {
        std::arch::asm!("/* {0} */", inout(ymm_reg) sum, options(pure, nomem, nostack, preserves_flags));
    };
    sum
}

/// Four levels of a row, eight times.
///
/// # Safety
/// There are levels of the columns of `quad` from `levels` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn quad_of_levels(levels: *const i8, quad: usize) -> __m256i {
    // SAFETY: as for this function.
    _mm256_set1_epi32(unsafe { levels.add(4 * quad).cast::<i32>().read_unaligned() })
}
