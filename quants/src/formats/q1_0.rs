//! Q1_0: 1.125 bits a weight. Signs; 128 weights share a scale, their mean magnitude.
//!
//! Block (128 weights, 18 bytes): f16 `d`; 16 bytes of eight signs, set for positive ones. A weight is `±d`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::isa::InstructionSet;
use crate::levels::build;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    d: Half,
    signs: [u8; 16],
}

/// [`TensorType::Q1_0`].
pub(crate) struct Q1_0;

impl Decode for Q1_0 {
    const TYPE: TensorType = TensorType::Q1_0;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<128>().0) {
            let d = block.d.get();
            for (signs, y) in block.signs.iter().zip(y.as_chunks_mut::<8>().0) {
                *y = build(|i| if signs >> i & 1 == 1 { d } else { -d });
            }
        }
    }
}

impl Encode for Q1_0 {
    /// Magnitudes have no sign, and nor has the NaN that their sum may be.
    fn handles_non_finite(_with_importance: bool) -> bool {
        true
    }

    /// Encodes whole blocks; importance has no influence.
    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        let (together, rest) = x.as_chunks::<128>().0.as_chunks::<TOGETHER>();
        let (blocks_together, blocks_rest) = blocks_mut::<Block>(dst).as_chunks_mut::<TOGETHER>();
        for (x, blocks) in together.iter().zip(blocks_together) {
            // Signs first: they go through memory in its order, and the sums find it in the cache.
            for (x, block) in x.iter().zip(&mut *blocks) {
                block.signs = signs(isa, x);
            }
            for (block, sum) in blocks.iter_mut().zip(isa.sums_of_magnitudes(x)) {
                block.d = Half::new(sum / 128.0);
            }
        }
        for (x, block) in rest.iter().zip(blocks_rest) {
            block.signs = signs(isa, x);
            block.d = Half::new(x.iter().fold(0.0, |sum, x| sum + x.abs()) / 128.0);
        }
    }
}

impl Expand for Q1_0 {
    const GROUP: usize = 32;
    const ZERO: u8 = 1;
    const ROUNDING: Rounding = Rounding::Q8_0;

    /// Ones around 1, so that they come as 0 and 2.
    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            row.scales[4 * i..][..4].fill(block.d.get());
            for (j, signs) in block.signs.iter().enumerate() {
                let codes: &mut [u8; 8] = &mut row.codes.as_chunks_mut().0[16 * i + j];
                *codes = build(|bit| 2 * (signs >> bit & 1));
            }
        }
    }
}

/// Blocks that are summed at the same time.
const TOGETHER: usize = 8;

#[inline(always)]
fn signs(isa: impl InstructionSet, x: &[f32; 128]) -> [u8; 16] {
    build(|i| isa.not_negative(&x.as_chunks().0[i]))
}

#[cfg(test)]
mod tests {
    use gguf::TensorType;
    use proptest::prelude::*;

    use super::TOGETHER;
    use crate::tests::any_float;
    use crate::{Isa, encode_with};

    /// Blocks that are summed at the same time, twice, and some left over.
    const WEIGHTS: usize = 128 * (2 * TOGETHER + 3);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn sums_side_by_side_are_those_of_scalar_code(row in proptest::collection::vec(any_float(), WEIGHTS)) {
            let blocks = |isa| {
                let mut blocks = vec![0; WEIGHTS / 128 * 18];
                encode_with(isa, TensorType::Q1_0, &row, WEIGHTS, None, &mut blocks).expect("whole blocks");
                blocks
            };
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                prop_assert_eq!(blocks(isa), blocks(Isa::Scalar), "{}", isa.name());
            }
        }
    }
}
