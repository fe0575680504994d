//! TQ1_0: 1.6875 bits a weight. Ternary weights, five to a byte; 256 weights share a scale.
//!
//! Block (256 weights, 54 bytes): 48 bytes of five trits, 4 bytes of four, f16 `d`. The trits of a byte are
//! the digits of a fraction in base 3, scaled to 256 and rounded up, so that multiplying by 3 moves the next
//! digit out at the top. A weight is `d·(trit − 1)`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::tq2_0::{largest_magnitude, trit};
use crate::isa::InstructionSet;
use crate::levels::build;
use crate::validate::Check;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    /// Trit `n` of byte `m` is weight `32·n + m` of the first 160.
    first: [u8; 32],
    /// Trit `n` of byte `m` is weight `16·n + m` of the next 80.
    second: [u8; 16],
    /// Trit `n` of byte `m` is weight `4·n + m` of the last 16.
    last: [u8; 4],
    d: Half,
}

/// [`TensorType::TQ1_0`].
pub(crate) struct TQ1_0;

impl Decode for TQ1_0 {
    const TYPE: TensorType = TensorType::TQ1_0;
    const CHECK: Check = Check::F16At(&[52]);

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            unpack(&block.first, d, &mut y[..160]);
            unpack(&block.second, d, &mut y[160..240]);
            unpack(&block.last, d, &mut y[240..]);
        }
    }
}

impl Encode for TQ1_0 {
    fn handles_non_finite(_with_importance: bool) -> bool {
        true
    }

    /// Encodes whole blocks; importance has no influence.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(_isa: I, x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        for (x, block) in x.as_chunks::<256>().0.iter().zip(blocks_mut::<Block>(dst)) {
            let d = largest_magnitude(x);
            let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
            block.first = pack(&x[..160], inverse);
            block.second = pack(&x[160..240], inverse);
            block.last = pack(&x[240..], inverse);
            block.d = Half::new(d);
        }
    }
}

impl Expand for TQ1_0 {
    const GROUP: usize = 32;
    const ZERO: u8 = 1;
    const ROUNDING: Rounding = Rounding::Q8K;

    /// Trits around 1.
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            row.scales[8 * i..][..8].fill(block.d.get());
            let codes = &mut row.codes[256 * i..][..256];
            unpack_trits(&block.first, &mut codes[..160]);
            unpack_trits(&block.second, &mut codes[160..240]);
            unpack_trits(&block.last, &mut codes[240..]);
        }
    }
}

/// Packs up to five rows of `B` trits, which stand one after another, in one byte a column.
#[inline(always)]
fn pack<const B: usize>(x: &[f32], inverse: f32) -> [u8; B] {
    let (rows, _) = x.as_chunks::<B>();
    build(|column| {
        let digits = (0..5).fold(0, |digits, row| {
            digits * 3
                + rows
                    .get(row)
                    .map_or(0, |row| u16::from(trit(row[column] * inverse)))
        });
        (digits * 256).div_ceil(243) as u8
    })
}

/// The inverse of [`pack`].
#[inline(always)]
fn unpack<const B: usize>(packed: &[u8; B], d: f32, y: &mut [f32]) {
    for (y, power) in y.as_chunks_mut::<B>().0.iter_mut().zip([1u8, 3, 9, 27, 81]) {
        for (y, byte) in y.iter_mut().zip(packed) {
            let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
            *y = f32::from(digit as i8 - 1) * d;
        }
    }
}

/// [`unpack`] as trits.
#[inline(always)]
fn unpack_trits<const B: usize>(packed: &[u8; B], trits: &mut [u8]) {
    for (trits, power) in trits.as_chunks_mut::<B>().0.iter_mut().zip([1u8, 3, 9, 27, 81]) {
        for (trit, byte) in trits.iter_mut().zip(packed) {
            *trit = ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as u8;
        }
    }
}
