//! Q6_K: super-blocks of 16 sub-blocks of 16 weights, 8-bit scales, 6-bit levels around 32.

use gguf::TensorType;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute, transmute_ref,
};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::isa::InstructionSet;
use crate::levels::{build, each};
use crate::reduce::{NEGLIGIBLE, signed_extreme};
use crate::round::nearest_int;
use crate::search::symmetric;
use crate::validate::Check;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    /// The low nibbles. Each half of the super-block takes 64 bytes: levels 0 to 63 in their low
    /// nibbles, levels 64 to 127 in the high ones.
    ql: [u8; 128],
    /// The upper two bits, in each half four to a byte: levels `i`, `32 + i`, `64 + i`, `96 + i`.
    qh: [u8; 64],
    scales: [i8; 16],
    d: Half,
}

/// [`TensorType::Q6_K`].
pub(crate) struct Q6_K;

impl Decode for Q6_K {
    const TYPE: TensorType = TensorType::Q6_K;
    const CHECK: Check = Check::F16At(&[208]);

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            // Levels first: with the floats at once, the compiler shifts sub-block by sub-block.
            let mut levels = [0; 256];
            unpack(block, &mut levels);
            let sub_blocks = levels.as_chunks::<16>().0.iter().zip(block.scales);
            for (y, (levels, scale)) in y.as_chunks_mut::<16>().0.iter_mut().zip(sub_blocks) {
                let scale = d * f32::from(scale);
                *y = each(levels, |level| scale * f32::from(level as i8 - 32));
            }
        }
    }
}

impl Encode for Q6_K {
    /// The scale of largest magnitude becomes -128 steps. Importance, where given, replaces the squared
    /// weights that weigh the errors otherwise.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let mut importance = importance.map(|importance| importance.as_chunks::<256>().0.iter());
        let blocks = blocks_mut::<Block>(dst).iter_mut();
        for (x, block) in x.as_chunks::<256>().0.iter().zip(blocks) {
            let importance = importance.as_mut().and_then(Iterator::next);
            let weights: [[f32; 16]; 16] = transmute!(match importance {
                Some(importance) => *importance,
                None => each(x, |x| x * x),
            });
            let mut levels = [[0; 16]; 16];
            let mut scales = [0.0; 16];
            isa.run(symmetric::Fit::<16> {
                x: transmute_ref!(x),
                max_level: 32,
                weights: &weights,
                levels: &mut levels,
                scales: &mut scales,
            });
            let mut levels: [u8; 256] = transmute!(levels);
            let extreme = signed_extreme(&scales);
            if extreme.abs() < NEGLIGIBLE {
                block.zero();
                continue;
            }
            let inverse = -128.0 / extreme;
            block.d = Half::new(1.0 / inverse);
            block.scales = scales.map(|scale| nearest_int(inverse * scale).min(127) as i8);
            let d = block.d.get();
            let sub_blocks = x.as_chunks::<16>().0.iter();
            for ((x, scale), levels) in sub_blocks.zip(block.scales).zip(levels.as_chunks_mut::<16>().0) {
                symmetric::refine(x, d * f32::from(scale), 32, levels);
            }
            pack(&levels, block);
        }
    }
}

impl Expand for Q6_K {
    const GROUP: usize = 16;
    const ZERO: u8 = 32;
    const ROUNDING: Rounding = Rounding::Q8K;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            for (j, scale) in block.scales.iter().enumerate() {
                row.scales[16 * i + j] = d * f32::from(*scale);
            }
            unpack(block, &mut row.codes.as_chunks_mut().0[i]);
        }
    }
}

#[inline(always)]
fn pack(levels: &[u8; 256], block: &mut Block) {
    block.ql = build(|i| {
        let first = i / 64 * 128 + i % 64;
        levels[first] & 15 | levels[first + 64] << 4
    });
    block.qh = build(|i| {
        let first = i / 32 * 128 + i % 32;
        (0..4).fold(0, |bits, j| bits | levels[first + 32 * j] >> 4 << (2 * j))
    });
}

/// The reverse of [`pack`].
#[inline(always)]
fn unpack(block: &Block, levels: &mut [u8; 256]) {
    let lows = block.ql.as_chunks::<64>().0.iter();
    let highs = block.qh.as_chunks::<32>().0.iter();
    for ((low, high), levels) in lows.zip(highs).zip(levels.as_chunks_mut::<128>().0) {
        for i in 0..32 {
            levels[i] = low[i] & 15 | (high[i] & 3) << 4;
            levels[32 + i] = low[32 + i] & 15 | (high[i] >> 2 & 3) << 4;
            levels[64 + i] = low[i] >> 4 | (high[i] >> 4 & 3) << 4;
            levels[96 + i] = low[32 + i] >> 4 | high[i] >> 6 << 4;
        }
    }
}
