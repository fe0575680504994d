//! Q3_K: super-blocks of 16 sub-blocks of 16 weights, 6-bit scales, 3-bit levels around 4.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, tiles};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::importance::error_weights;
use crate::isa::InstructionSet;
use crate::levels::{build, each, pack_two_bits, unpack_two_bits};
use crate::reduce::{signed_extreme, sum, sums_of_squares};
use crate::round::nearest_int;
use crate::search::symmetric;
use crate::validate::Check;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Block {
    /// The high bit of level `i` is bit `i / 32` of byte `i % 32`.
    hmask: [u8; 32],
    /// The low two bits of the levels.
    qs: [u8; 64],
    scales: [u8; 12],
    d: Half,
}

/// [`TensorType::Q3_K`].
pub(crate) struct Q3_K;

impl Decode for Q3_K {
    const TYPE: TensorType = TensorType::Q3_K;
    const CHECK: Check = Check::F16At(&[108]);

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Block>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.get();
            let scales = unpack_scales(&block.scales);
            for (j, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scale = d * f32::from(scales[j]);
                let low = unpack_two_bits(&block.qs, j);
                let high = &block.hmask[j % 2 * 16..][..16];
                for i in 0..16 {
                    let level = low[i] | (high[i] >> (j / 2) & 1) << 2;
                    y[i] = scale * (f32::from(level) - 4.0);
                }
            }
        }
    }
}

impl Encode for Q3_K {
    /// Without importance, super-blocks of several rows descend together.
    const ROWS: usize = 8;

    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let Some(importance) = importance else {
            for (x, _, blocks) in tiles::<Block>(PLAIN_TILE, x, None, dst) {
                let mut levels = [[0; 256]; PLAIN_TILE];
                let levels = &mut levels[..x.len()];
                fit_plain(isa, x, blocks, levels);
                finish(x, blocks, levels);
            }
            return;
        };
        let row_bytes = importance.len() / 256 * size_of::<Block>();
        for (x, dst) in x.chunks(importance.len()).zip(dst.chunks_mut(row_bytes)) {
            let importance = importance.as_chunks::<256>().0.chunks(TILE);
            for ((x, _, blocks), importance) in tiles::<Block>(TILE, x, None, dst).zip(importance) {
                let mut levels = [[0; 256]; TILE];
                let levels = &mut levels[..x.len()];
                fit_with_importance(isa, x, importance, blocks, levels);
                finish(x, blocks, levels);
            }
        }
    }
}

impl Expand for Q3_K {
    const GROUP: usize = 16;
    const ZERO: u8 = 4;
    const LARGEST: u8 = 7;
    const ROUNDING: Rounding = Rounding::Q8K;

    #[inline(always)]
    fn expand_row(src: &[u8], row: Row<'_>) {
        for (i, block) in blocks::<Block>(src).iter().enumerate() {
            let d = block.d.get();
            for (j, scale) in unpack_scales(&block.scales).into_iter().enumerate() {
                row.scales[16 * i + j] = d * f32::from(scale);
                let low = unpack_two_bits(&block.qs, j);
                let high = &block.hmask[j % 2 * 16..][..16];
                let codes: &mut [u8; 16] = &mut row.codes.as_chunks_mut().0[16 * i + j];
                *codes = build(|i| low[i] | (high[i] >> (j / 2) & 1) << 2);
            }
        }
    }
}

/// Sixteen 6-bit scales around 32: the low nibbles of scales `j` and `8 + j` in byte `j`, their
/// upper two bits, four to a byte, in the last four bytes.
pub(crate) fn pack_scales(scales: &[u8; 16]) -> [u8; 12] {
    std::array::from_fn(|i| match i {
        0..8 => scales[i] & 15 | (scales[8 + i] & 15) << 4,
        _ => (0..4).fold(0, |byte, j| byte | scales[i - 8 + 4 * j] >> 4 << (2 * j)),
    })
}

pub(crate) fn unpack_scales(bytes: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|j| {
        let low = bytes[j % 8] >> (j / 8 * 4) & 15;
        let high = bytes[8 + j % 4] >> (j / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}

/// Super-blocks that are encoded together with importance: their scales fill eight lanes.
const TILE: usize = 8;
/// The same without: enough for the sub-blocks that still move to fill lanes in most rounds of the descent.
const PLAIN_TILE: usize = 32;

/// Levels for the stored scales.
#[inline(always)]
fn finish(x: &[[f32; 256]], blocks: &mut [Block], levels: &mut [[u8; 256]]) {
    for ((x, block), levels) in x.iter().zip(blocks).zip(levels) {
        let d = block.d.get();
        let sub_blocks = x.as_chunks::<16>().0.iter();
        for ((x, scale), levels) in sub_blocks
            .zip(unpack_scales(&block.scales))
            .zip(levels.as_chunks_mut::<16>().0)
        {
            symmetric::refine(x, d * f32::from(scale), 4, levels);
        }
        block.hmask = build(|i| (0..8).fold(0, |bits, j| bits | (levels[32 * j + i] >> 2) << j));
        block.qs = pack_two_bits(&each(levels, |level| level & 3));
    }
}

/// The scale of largest magnitude becomes -32 steps.
#[inline(always)]
fn fit_plain<I: InstructionSet>(isa: I, x: &[[f32; 256]], blocks: &mut [Block], levels: &mut [[u8; 256]]) {
    let mut scales = [[0.0; 16]; PLAIN_TILE];
    let scales = &mut scales[..x.len()];
    isa.run(symmetric::Descend::<16> {
        x: x.as_flattened().as_chunks().0,
        max_level: 4,
        levels: levels.as_flattened_mut().as_chunks_mut().0,
        scales: scales.as_flattened_mut(),
    });
    for (scales, block) in scales.iter().zip(blocks) {
        let extreme = signed_extreme(scales);
        if extreme == 0.0 {
            block.scales = [0; 12];
            block.d = Half::ZERO;
        } else {
            let inverse = -32.0 / extreme;
            block.scales = pack_scales(&each(scales, |scale| {
                let level = nearest_int(inverse * scale) as i8;
                (level.clamp(-32, 31) + 32) as u8
            }));
            block.d = Half::new(1.0 / inverse);
        }
    }
}

/// Scales are fitted with the weight of their sub-blocks.
#[inline(always)]
fn fit_with_importance<I: InstructionSet>(
    isa: I,
    x: &[[f32; 256]],
    importance: &[[f32; 256]],
    blocks: &mut [Block],
    levels: &mut [[u8; 256]],
) {
    let count = x.len();
    let sums = sums_of_squares::<TILE>(x.as_flattened(), 256);
    let mut weights = [[0.0; 256]; TILE];
    let mut totals = [[0.0; 16]; TILE];
    for (j, x) in x.iter().enumerate() {
        weights[j] = error_weights(x, &importance[j], 2.0 * sums[j] / 256.0);
        totals[j] = std::array::from_fn(|i| sum(&weights[j][16 * i..][..16]));
    }
    let mut scales = [[0.0; 16]; TILE];
    isa.run(symmetric::Fit::<16> {
        x: x.as_flattened().as_chunks().0,
        max_level: 4,
        weights: weights[..count].as_flattened().as_chunks().0,
        levels: levels.as_flattened_mut().as_chunks_mut().0,
        scales: scales[..count].as_flattened_mut(),
    });
    let mut scale_levels = [[0; 16]; TILE];
    let mut d = [0.0; TILE];
    isa.run(symmetric::Fit {
        x: &scales[..count],
        max_level: 32,
        weights: &totals[..count],
        levels: &mut scale_levels[..count],
        scales: &mut d[..count],
    });
    for ((block, d), levels) in blocks.iter_mut().zip(d).zip(&scale_levels) {
        block.d = Half::new(d);
        block.scales = pack_scales(levels);
    }
}

#[cfg(test)]
mod tests {
    use gguf::TensorType;
    use proptest::prelude::*;

    use super::PLAIN_TILE;
    use crate::{Isa, encode_with};

    /// More weights than descend together, and more sub-blocks of them in motion than lanes.
    const WEIGHTS: usize = 256 * (PLAIN_TILE + 5);

    /// The blocks of a row with one instruction set.
    fn blocks(isa: Isa, row: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
        let mut blocks = vec![0; row.len() / 256 * 110];
        encode_with(isa, TensorType::Q3_K, row, row.len(), importance, &mut blocks).expect("whole blocks");
        blocks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn sub_blocks_that_descend_together_end_as_those_alone(
            row in proptest::collection::vec((-1.0_f32..1.0).prop_map(|x| x * x * x), WEIGHTS),
        ) {
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                prop_assert!(blocks(isa, &row, None) == blocks(Isa::Scalar, &row, None), "{}", isa.name());
            }
        }
    }

    /// The sums of a large weight's sub-block overflow, and its scale is infinite. The scales are rounded in turn, and of an
    /// infinite one lanes would make other levels.
    #[test]
    fn scales_of_sums_that_overflow_are_those_of_the_specification() {
        let mut row: Vec<f32> = (0..WEIGHTS)
            .map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0)
            .collect();
        row[3 * 256 + 40] = 1e19;
        let importance = Some(&[1.0; WEIGHTS][..]);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            assert!(
                blocks(isa, &row, importance) == blocks(Isa::Scalar, &row, importance),
                "{}",
                isa.name()
            );
        }
    }
}
