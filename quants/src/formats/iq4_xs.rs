//! IQ4_XS: 4.25 bits a weight. As IQ4_NL, but the scales of 32 weights are six-bit multiples of a
//! super-block's scale.
//!
//! Block (256 weights, 136 bytes): f16 `d`; u16 with the scales' two high bits; 4 bytes with their four low
//! bits; 128 bytes of value indices as in IQ4_NL. A weight is `d·(scale − 32)·value`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::iq::super_blocks;
use crate::formats::iq4_nl::{LARGEST, ZERO, codes, pack, unpack};
use crate::isa::InstructionSet;
use crate::reduce::signed_extreme;
use crate::round::nearest_int;
use crate::search::nonlinear;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    scales_high: [u8; 2],
    scales_low: [u8; 4],
    qs: [[u8; 16]; 8],
}

/// [`TensorType::IQ4_XS`].
pub(crate) struct IQ4_XS;

impl Decode for IQ4_XS {
    const TYPE: TensorType = TensorType::IQ4_XS;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            let high = u16::from_le_bytes(block.scales_high);
            for (index, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let low = block.scales_low[index / 2] >> (4 * (index % 2)) & 0xf;
                let code = low | ((high >> (2 * index) & 3) as u8) << 4;
                unpack(&block.qs[index], d * f32::from(code as i8 - 32), y);
            }
        }
    }
}

/// Super-blocks whose scales are searched at the same time, in lanes.
const TILE: usize = 4;

impl Encode for IQ4_XS {
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        for (tile, x) in x.chunks(256 * TILE).enumerate() {
            let importance = importance.map(|importance| &importance[256 * TILE * tile..][..x.len()]);
            let dst = &mut dst[size_of::<Block>() * TILE * tile..][..size_of::<Block>() * (x.len() / 256)];
            let mut weights = [[0.0; 32]; 8 * TILE];
            for ((super_block, _), weights) in
                super_blocks::<Block>(x, importance, |sum| sum * (2.0 / 256.0), dst)
                    .zip(weights.as_chunks_mut::<8>().0)
            {
                for (index, weights) in weights.iter_mut().enumerate() {
                    *weights = super_block.weights::<32>(index, |x| x * x);
                }
            }
            let parts = x.as_chunks::<32>().0;
            let mut scales = [0.0; 8 * TILE];
            isa.run(nonlinear::Fit {
                x: parts,
                weights: &weights[..parts.len()],
                scales: &mut scales[..parts.len()],
            });
            for ((parts, block), scales) in parts
                .as_chunks()
                .0
                .iter()
                .zip(blocks_mut::<Block>(dst))
                .zip(scales.as_chunks().0)
            {
                block.fill(parts, scales);
            }
        }
    }
}

impl Block {
    /// Stores a super-block whose parts have these scales.
    #[inline(always)]
    fn fill(&mut self, parts: &[[f32; 32]; 8], scales: &[f32; 8]) {
        let d = -signed_extreme(scales) / 32.0;
        self.d = Half::new(d);
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let mut high = 0u16;
        self.scales_low = [0; 4];
        for index in 0..8 {
            let multiple = nearest_int(inverse * scales[index]).clamp(-32, 31);
            self.qs[index] = pack(&parts[index], d * multiple as f32);
            let code = (multiple + 32) as u8;
            self.scales_low[index / 2] |= (code & 0xf) << (4 * (index % 2));
            high |= u16::from(code >> 4) << (2 * index);
        }
        self.scales_high = high.to_le_bytes();
    }
}

impl Expand for IQ4_XS {
    const GROUP: usize = 32;
    const ZERO: u8 = ZERO;
    const LARGEST: u8 = LARGEST;
    const ROUNDING: Rounding = Rounding::Q8K;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            let high = u16::from_le_bytes(block.scales_high);
            for (index, qs) in block.qs.iter().enumerate() {
                let low = block.scales_low[index / 2] >> (4 * (index % 2)) & 0xf;
                let code = low | ((high >> (2 * index) & 3) as u8) << 4;
                row.scales[8 * i + index] = d * f32::from(code as i8 - 32);
                row.codes.as_chunks_mut().0[8 * i + index] = codes(qs);
            }
        }
    }
}
