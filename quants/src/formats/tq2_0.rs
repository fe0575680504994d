//! TQ2_0: 2.0625 bits a weight. Ternary weights, four to a byte; 256 weights share a scale.
//!
//! Block (256 weights, 66 bytes): 64 bytes of four levels, f16 `d`. A weight is `d·(level − 1)`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::isa::InstructionSet;
use crate::levels::{build, each};
use crate::reduce::finite_magnitude;
use crate::validate::Check;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    /// Level `n` of byte `m` is weight `32·n + m` of each half.
    qs: [[u8; 32]; 2],
    d: Half,
}

/// [`TensorType::TQ2_0`].
pub(crate) struct TQ2_0;

impl Decode for TQ2_0 {
    const TYPE: TensorType = TensorType::TQ2_0;
    const CHECK: Check = Check::F16At(&[64]);

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            for (qs, y) in block.qs.iter().zip(y.as_chunks_mut::<128>().0) {
                for (level, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    for (y, byte) in y.iter_mut().zip(qs) {
                        *y = f32::from((byte >> (2 * level) & 3) as i8 - 1) * d;
                    }
                }
            }
        }
    }
}

impl Encode for TQ2_0 {
    fn handles_non_finite(_with_importance: bool) -> bool {
        true
    }

    /// Encodes whole blocks; importance has no influence.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(_isa: I, x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        for (x, block) in x.as_chunks::<256>().0.iter().zip(blocks_mut::<Block>(dst)) {
            let d = largest_magnitude(x);
            let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
            for (x, qs) in x.as_chunks::<128>().0.iter().zip(&mut block.qs) {
                *qs = build(|byte| {
                    (0..4)
                        .map(|level| trit(x[32 * level + byte] * inverse) << (2 * level))
                        .sum()
                });
            }
            block.d = Half::new(d);
        }
    }
}

impl Expand for TQ2_0 {
    const GROUP: usize = 32;
    const ZERO: u8 = 1;
    const LARGEST: u8 = 3;
    const ROUNDING: Rounding = Rounding::Q8K;

    /// Levels around 1.
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            row.scales[8 * i..][..8].fill(block.d.get());
            for j in 0..8 {
                let codes: &mut [u8; 32] = &mut row.codes.as_chunks_mut().0[8 * i + j];
                *codes = each(&block.qs[j / 4], |byte| byte >> (2 * (j % 4)) & 3);
            }
        }
    }
}

/// The largest magnitude. A NaN counts as the element after it.
#[inline(always)]
pub(crate) fn largest_magnitude(x: &[f32; 256]) -> f32 {
    finite_magnitude(x).unwrap_or_else(|| {
        x.iter()
            .fold(0.0, |max, x| if max > x.abs() { max } else { x.abs() })
    })
}

/// The ternary level of a weight scaled to -1..=1, one half and above in magnitude away from zero. Outside
/// that range, where the inverse of a subnormal scale leads, it is level 1.
#[inline(always)]
pub(crate) fn trit(scaled: f32) -> u8 {
    if scaled.abs() < 1.5 {
        1 + u8::from(scaled >= 0.5) - u8::from(scaled <= -0.5)
    } else {
        1
    }
}
