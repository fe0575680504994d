//! IQ4_NL: 4.5 bits a weight, and the search it shares with IQ4_XS. A weight is one of sixteen values that are
//! dense around zero; 32 weights share a scale.
//!
//! Block (32 weights, 18 bytes): f16 `d`; 16 bytes, each with the values' indices of weights `i` and `16 + i`.
//! A weight is `d·value`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::importance::error_weights;
use crate::isa::InstructionSet;
use crate::levels::{build, each};
use crate::reduce::sum_of_squares;
use crate::search::nonlinear::{self, VALUES, nearest_value};

/// Blocks that are encoded together: enough to fill the lanes twice.
const TILE: usize = 16;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    /// Index `i` in the low nibble of byte `i`, index `16 + i` in its high nibble.
    qs: [u8; 16],
}

/// [`TensorType::IQ4_NL`].
pub(crate) struct IQ4_NL;

impl Decode for IQ4_NL {
    const TYPE: TensorType = TensorType::IQ4_NL;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
            unpack(&block.qs, block.d.get(), y);
        }
    }
}

impl Encode for IQ4_NL {
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let importance = importance.map(|importance| importance.as_chunks::<32>().0);
        let tiles = x.as_chunks::<32>().0.chunks(TILE);
        for (index, (x, blocks)) in tiles.zip(blocks_mut::<Block>(dst).chunks_mut(TILE)).enumerate() {
            let mut weights = [[0.0; 32]; TILE];
            for (j, x) in x.iter().enumerate() {
                let variance = sum_of_squares(x) * (2.0 / 32.0);
                weights[j] = match importance {
                    Some(importance) => error_weights(x, &importance[TILE * index + j], variance),
                    None => each(x, |x| x * x),
                };
            }
            let mut scales = [0.0; TILE];
            isa.run(nonlinear::Fit {
                x,
                weights: &weights[..x.len()],
                scales: &mut scales[..x.len()],
            });
            for ((x, block), scale) in x.iter().zip(blocks).zip(scales) {
                block.d = Half::new(scale);
                block.qs = pack(x, scale);
            }
        }
    }
}

impl Expand for IQ4_NL {
    const GROUP: usize = 32;
    const ZERO: u8 = ZERO;
    const LARGEST: u8 = LARGEST;
    const ROUNDING: Rounding = Rounding::Q8_0;

    /// The values around [`ZERO`].
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            row.scales[i] = block.d.get();
            row.codes.as_chunks_mut().0[i] = codes(&block.qs);
        }
    }
}

/// The nearest values' indices for a block of this scale, as stored.
#[inline(always)]
pub(crate) fn pack(x: &[f32; 32], scale: f32) -> [u8; 16] {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let indices = each(x, |x| nearest_value(inverse * x));
    std::array::from_fn(|i| indices[i] | indices[16 + i] << 4)
}

/// The values of a stored block times `scale`.
#[inline(always)]
pub(crate) fn unpack(qs: &[u8; 16], scale: f32, y: &mut [f32; 32]) {
    for (i, q) in qs.iter().enumerate() {
        y[i] = scale * f32::from(VALUES[usize::from(q & 0xf)]);
        y[16 + i] = scale * f32::from(VALUES[usize::from(q >> 4)]);
    }
}

/// The code of 0 in [`codes`].
pub(crate) const ZERO: u8 = 127;

/// The code of the largest value in [`codes`].
pub(crate) const LARGEST: u8 = (VALUES[15] as i16 + ZERO as i16) as u8;

/// The values of a stored block around [`ZERO`].
#[inline(always)]
pub(crate) fn codes(qs: &[u8; 16]) -> [u8; 32] {
    const CODES: [u8; 16] = {
        let mut codes = [0; 16];
        let mut index = 0;
        while index < 16 {
            codes[index] = (VALUES[index] as i16 + ZERO as i16) as u8;
            index += 1;
        }
        codes
    };
    build(|i| CODES[usize::from(qs[i % 16] >> (i / 16 * 4) & 0xf)])
}
