//! Q5_K: super-blocks of 8 sub-blocks of 32 weights, 6-bit scales and minima, 5-bit levels.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::affine_k::{self, Format, TILE, unpack_scale};
use crate::formats::block::{Half, blocks, tiles};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::isa::InstructionSet;
use crate::levels::build;
use crate::search::affine::{Candidates, ErrorMeasure};
use crate::validate::Check;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    dmin: Half,
    scales: [u8; 12],
    /// The fifth bit of level `i` of sub-block `j` is bit `j` of byte `i`.
    qh: [u8; 32],
    /// For each pair of sub-blocks 32 bytes: the low bits of the first's levels in the low nibbles,
    /// of the second's in the high ones.
    qs: [u8; 128],
}

/// [`TensorType::Q5_K`].
pub(crate) struct Q5_K;

impl Decode for Q5_K {
    const TYPE: TensorType = TensorType::Q5_K;
    const CHECK: Check = Check::F16At(&[0, 2]);

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let (d, dmin) = (block.d.get(), block.dmin.get());
            for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let (scale, min) = unpack_scale(&block.scales, j);
                let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
                let qs = &block.qs[j / 2 * 32..][..32];
                for ((y, q), high) in y.iter_mut().zip(qs).zip(&block.qh) {
                    let level = q >> (j % 2 * 4) & 15 | (high >> j & 1) << 4;
                    *y = scale * f32::from(level) - min;
                }
            }
        }
    }
}

impl Encode for Q5_K {
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        for (x, importance, blocks) in tiles::<Block>(TILE, x, importance, dst) {
            let mut levels = [[0; 256]; TILE];
            let scales = affine_k::encode(isa, &FORMAT, x, importance, &mut levels);
            for ((block, scales), levels) in blocks.iter_mut().zip(scales).zip(&levels) {
                block.d = scales.d;
                block.dmin = scales.dmin;
                block.scales = scales.packed;
                block.qh = build(|i| (0..8).fold(0, |bits, j| bits | levels[32 * j + i] >> 4 << j));
                block.qs = build(|i| {
                    let first = i / 32 * 64 + i % 32;
                    levels[first] & 15 | levels[first + 32] << 4
                });
            }
        }
    }
}

impl Expand for Q5_K {
    const GROUP: usize = 32;
    const ZERO: u8 = 0;
    const LARGEST: u8 = 31;
    const OFFSETS: bool = true;
    const ROUNDING: Rounding = Rounding::Q8K;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let (d, dmin) = (block.d.get(), block.dmin.get());
            for j in 0..8 {
                let (scale, min) = unpack_scale(&block.scales, j);
                row.scales[8 * i + j] = d * f32::from(scale);
                row.offsets[8 * i + j] = -dmin * f32::from(min);
                let qs = &block.qs[j / 2 * 32..][..32];
                let codes: &mut [u8; 32] = &mut row.codes.as_chunks_mut().0[8 * i + j];
                *codes = build(|i| qs[i] >> (j % 2 * 4) & 15 | (block.qh[i] >> j & 1) << 4);
            }
        }
    }
}

pub(crate) const FORMAT: Format = Format {
    max_level: 31,
    plain_candidates: Candidates {
        first: -0.5,
        step: 0.1,
        last: 15,
        measure: ErrorMeasure::Squared,
    },
    clamp_scales: true,
};
