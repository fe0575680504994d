//! Q4_0, Q4_1, Q5_0 and Q5_1: blocks of 32 weights with one scale, levels of four or five bits.
//!
//! Block: f16 `d`; with a minimum (`_1`) f16 `m`; for five bits 4 bytes with the fifth bits; 16 bytes, each with the low
//! bits of levels `i` and `16 + i`. A weight is `d·(level − half)`, with half of the number of levels, or
//! `d·level + m`.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks, blocks_mut};
use crate::formats::format::{Decode, Encode, Expand, Rounding, Row};
use crate::formats::importance::{ROWS, error_weights, with_mean_squares};
use crate::isa::{BlockOps, InstructionSet, Scalar};
use crate::levels::{decode_five_bits, decode_nibbles, each, pack_nibbles, unpack_five_bits, unpack_nibbles};
use crate::search::affine::{self, AffineFit, IMPORTANCE_CANDIDATES};
use crate::search::symmetric;
use crate::validate::Check;

/// [`TensorType::Q4_0`].
pub(crate) type Q4_0 = Legacy<Symmetric, FourBits>;
/// [`TensorType::Q4_1`].
pub(crate) type Q4_1 = Legacy<Affine, FourBits>;
/// [`TensorType::Q5_0`].
pub(crate) type Q5_0 = Legacy<Symmetric, FiveBits>;
/// [`TensorType::Q5_1`].
pub(crate) type Q5_1 = Legacy<Affine, FiveBits>;

/// A block, and with it the format: the map from levels to weights, and the levels.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Legacy<M, L> {
    map: M,
    levels: L,
}

/// Blocks that are encoded together with importance: enough to fill the lanes twice.
const TILE: usize = 16;

/// The map from levels to weights.
pub(crate) trait Map: Copy + FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {
    const AFFINE: bool;
    const CHECK: Check;
    const ROUNDING: Rounding;

    /// The map of a block without a search, and the shift, factor and offset from which
    /// [`BlockOps::truncated_levels`] gives its levels. For finite weights with all but [`Scalar`].
    fn of_block<L: Levels>(isa: impl BlockOps, x: &[f32; 32]) -> (Self, [f32; 3]);

    /// The maps of blocks, and their levels, by search.
    fn search<L: Levels>(
        isa: impl InstructionSet,
        x: &[[f32; 32]],
        weights: &[[f32; 32]],
        levels: &mut [[u8; 32]],
    ) -> [Self; TILE];

    /// The weight of a level.
    fn weight<L: Levels>(self) -> impl Fn(f32) -> f32;

    /// Writes scale and offset of block `index`.
    fn expand(self, index: usize, row: &mut Row<'_>);
}

/// The levels of a block.
pub(crate) trait Levels: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {
    const MAX: u8;
    /// The level of zero in a symmetric format.
    const HALF: u8 = Self::MAX / 2 + 1;

    fn pack(isa: impl BlockOps, levels: &[u8; 32]) -> Self;
    fn unpack(&self, levels: &mut [u8; 32]);
    /// Decodes to `weight(level)`.
    fn decode(&self, y: &mut [f32; 32], weight: impl Fn(f32) -> f32);
}

/// A scale.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Symmetric {
    d: Half,
}

/// A scale and a minimum, which is added.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Affine {
    d: Half,
    m: Half,
}

impl Map for Symmetric {
    const AFFINE: bool = false;
    const CHECK: Check = Check::F16At(&[0]);
    const ROUNDING: Rounding = Rounding::Q8_0;

    /// The weight of largest magnitude gets level 0 exactly.
    #[inline(always)]
    fn of_block<L: Levels>(isa: impl BlockOps, x: &[f32; 32]) -> (Self, [f32; 3]) {
        let half = f32::from(L::HALF);
        let d = isa.signed_extreme(x) / -half;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let [stored] = Half::several(isa, [d]);
        (Self { d: stored }, [0.0, inverse, half + 0.5])
    }

    #[inline(always)]
    fn search<L: Levels>(
        isa: impl InstructionSet,
        x: &[[f32; 32]],
        weights: &[[f32; 32]],
        levels: &mut [[u8; 32]],
    ) -> [Self; TILE] {
        let mut scales = [0.0; TILE];
        isa.run(symmetric::Fit {
            x,
            max_level: i32::from(L::HALF),
            weights,
            levels,
            scales: &mut scales[..x.len()],
        });
        each(&scales, |scale| Self { d: Half::new(scale) })
    }

    #[inline(always)]
    fn weight<L: Levels>(self) -> impl Fn(f32) -> f32 {
        let d = self.d.get();
        move |level| (level - f32::from(L::HALF)) * d
    }

    #[inline(always)]
    fn expand(self, index: usize, row: &mut Row<'_>) {
        row.scales[index] = self.d.get();
    }
}

impl Map for Affine {
    const AFFINE: bool = true;
    const CHECK: Check = Check::F16At(&[0, 2]);
    const ROUNDING: Rounding = Rounding::Q8_1;

    /// The smallest and the largest weight get the first and the last level.
    #[inline(always)]
    fn of_block<L: Levels>(isa: impl BlockOps, x: &[f32; 32]) -> (Self, [f32; 3]) {
        let (min, max) = isa.range(x);
        let d = (max - min) / f32::from(L::MAX);
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let [stored, m] = Half::several(isa, [d, min]);
        (Self { d: stored, m }, [min, inverse, 0.5])
    }

    #[inline(always)]
    fn search<L: Levels>(
        isa: impl InstructionSet,
        x: &[[f32; 32]],
        weights: &[[f32; 32]],
        levels: &mut [[u8; 32]],
    ) -> [Self; TILE] {
        let mut fits = [AffineFit::default(); TILE];
        isa.run(affine::Fit {
            x,
            weights,
            max_level: i32::from(L::MAX),
            candidates: IMPORTANCE_CANDIDATES,
            levels,
            fits: &mut fits[..x.len()],
        });
        each(&fits, |fit| Self {
            d: Half::new(fit.scale),
            m: Half::new(-fit.min),
        })
    }

    #[inline(always)]
    fn weight<L: Levels>(self) -> impl Fn(f32) -> f32 {
        let (d, m) = (self.d.get(), self.m.get());
        move |level| level * d + m
    }

    #[inline(always)]
    fn expand(self, index: usize, row: &mut Row<'_>) {
        row.scales[index] = self.d.get();
        row.offsets[index] = self.m.get();
    }
}

/// Levels of four bits.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct FourBits {
    qs: [u8; 16],
}

impl Levels for FourBits {
    const MAX: u8 = 15;

    #[inline(always)]
    fn pack(_isa: impl BlockOps, levels: &[u8; 32]) -> Self {
        Self {
            qs: pack_nibbles(levels),
        }
    }

    #[inline(always)]
    fn unpack(&self, levels: &mut [u8; 32]) {
        unpack_nibbles(&self.qs, levels);
    }

    #[inline(always)]
    fn decode(&self, y: &mut [f32; 32], weight: impl Fn(f32) -> f32) {
        decode_nibbles(&self.qs, y, weight);
    }
}

/// Levels of five bits.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct FiveBits {
    qh: [u8; 4],
    qs: [u8; 16],
}

impl Levels for FiveBits {
    const MAX: u8 = 31;

    #[inline(always)]
    fn pack(isa: impl BlockOps, levels: &[u8; 32]) -> Self {
        let (qs, qh) = isa.pack_five_bits(levels);
        Self { qh, qs }
    }

    #[inline(always)]
    fn unpack(&self, levels: &mut [u8; 32]) {
        unpack_five_bits(&self.qs, self.qh, levels);
    }

    #[inline(always)]
    fn decode(&self, y: &mut [f32; 32], weight: impl Fn(f32) -> f32) {
        decode_five_bits(&self.qs, self.qh, y, weight);
    }
}

impl<M: Map, L: Levels> Decode for Legacy<M, L> {
    const TYPE: TensorType = match (L::MAX, M::AFFINE) {
        (15, false) => TensorType::Q4_0,
        (15, true) => TensorType::Q4_1,
        (_, false) => TensorType::Q5_0,
        (_, true) => TensorType::Q5_1,
    };
    const CHECK: Check = M::CHECK;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<Self>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
            block.levels.decode(y, block.map.weight::<L>());
        }
    }
}

impl<M: Map, L: Levels> Encode for Legacy<M, L> {
    const ROWS: usize = ROWS;

    fn handles_non_finite(with_importance: bool) -> bool {
        !with_importance
    }

    #[inline(always)]
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
        let blocks = blocks_mut::<Self>(dst);
        let Some(importance) = importance else {
            for (x, block) in x.as_chunks::<32>().0.iter().zip(blocks) {
                match isa.finite_magnitude(x) {
                    Some(_) => encode_block(isa, x, block),
                    None => encode_block(Scalar, x, block),
                }
            }
            return;
        };
        with_mean_squares(x, importance.len(), blocks, |x, variance, blocks| {
            encode_weighted(isa, x, importance, variance, blocks);
        });
    }
}

#[inline(always)]
fn encode_block<M: Map, L: Levels>(isa: impl BlockOps, x: &[f32; 32], block: &mut Legacy<M, L>) {
    let (map, [shift, factor, offset]) = M::of_block::<L>(isa, x);
    block.map = map;
    let levels = isa.truncated_levels(x, shift, factor, offset);
    let levels = each(&levels, |level| (level as i8).min(L::MAX as i8) as u8);
    block.levels = L::pack(isa, &levels);
}

/// Encodes a row with importance.
#[inline(always)]
fn encode_weighted<M: Map, L: Levels>(
    isa: impl InstructionSet,
    x: &[f32],
    importance: &[f32],
    variance: f32,
    blocks: &mut [Legacy<M, L>],
) {
    let importance = importance.as_chunks::<32>().0.chunks(TILE);
    let tiles = x
        .as_chunks::<32>()
        .0
        .chunks(TILE)
        .zip(importance)
        .zip(blocks.chunks_mut(TILE));
    for ((x, importance), blocks) in tiles {
        let mut weights = [[0.0; 32]; TILE];
        for ((x, importance), weights) in x.iter().zip(importance).zip(&mut weights) {
            *weights = error_weights(x, importance, variance);
        }
        let count = x.len();
        let mut levels = [[0; 32]; TILE];
        let maps = M::search::<L>(isa, x, &weights[..count], &mut levels[..count]);
        for ((block, map), levels) in blocks.iter_mut().zip(maps).zip(&levels) {
            *block = Legacy {
                map,
                levels: L::pack(isa, levels),
            };
        }
    }
}

impl<M: Map, L: Levels> Expand for Legacy<M, L> {
    const GROUP: usize = 32;
    const ZERO: u8 = if M::AFFINE { 0 } else { L::HALF };
    const LARGEST: u8 = L::MAX;
    const OFFSETS: bool = M::AFFINE;
    const ROUNDING: Rounding = M::ROUNDING;

    #[inline(always)]
    fn expand_row(src: &[u8], mut row: Row<'_>) {
        for (i, block) in blocks::<Self>(src).iter().enumerate() {
            block.map.expand(i, &mut row);
            block.levels.unpack(&mut row.codes.as_chunks_mut().0[i]);
        }
    }
}
