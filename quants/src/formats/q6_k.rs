//! Q6_K: super-blocks of 16 sub-blocks of 16 weights, 8-bit scales, 6-bit levels around 32.

use gguf::TensorType;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute, transmute_ref,
};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::isa::InstructionSet;
use crate::levels::{each, pack_six_bits, unpack_six_bits};
use crate::reduce::{NEGLIGIBLE, signed_extreme};
use crate::round::nearest_int;
use crate::search::symmetric;
use crate::validate::Check;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    /// The low nibbles of the levels.
    ql: [u8; 128],
    /// Their upper two bits.
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
            unpack_six_bits(&block.ql, &block.qh, &mut levels);
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
            (block.ql, block.qh) = pack_six_bits(&levels);
        }
    }
}

impl Expand for Q6_K {
    const GROUP: usize = 16;
    const ZERO: u8 = 32;
    const LARGEST: u8 = 63;
    const ROUNDING: Rounding = Rounding::Q8K;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            for (j, scale) in block.scales.iter().enumerate() {
                row.scales[16 * i + j] = d * f32::from(*scale);
            }
            unpack_six_bits(&block.ql, &block.qh, &mut row.codes.as_chunks_mut().0[i]);
        }
    }
}
