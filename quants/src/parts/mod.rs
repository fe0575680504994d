//! The parts of blocks, scales, minima and levels, as numbers: for encoders that choose them otherwise than ggml.
//!
//! In every format described here a weight is `(d * scale) * level - (dmin * min)`, computed in that order in f32: the
//! decoders do the same, so a block that is put together decodes to exactly the values that its parts promise
//! ([`Parts::value`]). Scale and minimum belong to a sub-block; `d` and `dmin` to the block.

mod block;
mod codebooks;
mod factors;
mod legacy;
mod nonlinear;
mod super_blocks;

pub use block::Parts;
pub use codebooks::{BLOCK, Codebook, LAST_CODE, PointParts, codebook, codebook_types};
pub use factors::factors;
use gguf::TensorType;

use crate::f16;
use crate::search::nonlinear::VALUES;

/// The values of a format's levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Levels {
    /// Whole numbers from the first to the last.
    Whole {
        /// The lowest.
        first: i16,
        /// The highest.
        last: i16,
    },
    /// Sixteen values in ascending order.
    Table(&'static [f32; 16]),
}

/// A block format as numbers.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The type.
    pub ty: TensorType,
    /// Weights in a block.
    pub block: usize,
    /// Weights in a sub-block.
    pub sub_block: usize,
    /// The levels.
    pub levels: Levels,
    /// Lowest and highest scale of a sub-block. Both are 1 where sub-blocks have none of their own.
    pub scales: (i16, i16),
    /// Lowest and highest minimum of a sub-block. Both are 0 in formats without minima, both 1 where only the block
    /// has one.
    pub mins: (i16, i16),
    unpack: fn(&[u8], &mut Parts),
    pack: fn(&Parts, &mut [u8]),
}

/// [`VALUES`] as numbers.
static NONLINEAR: [f32; 16] = {
    let mut values = [0.0; 16];
    let mut i = 0;
    while i < 16 {
        values[i] = VALUES[i] as f32;
        i += 1;
    }
    values
};

const fn whole(first: i16, last: i16) -> Levels {
    Levels::Whole { first, last }
}

/// The formats that are described, in order of type id. Q8_0's lowest level, -128, is left out: some kernels take
/// absolute values in eight bits.
#[rustfmt::skip]
static LAYOUTS: &[Layout] = {
    use TensorType as T;
    const NO_SCALES: (i16, i16) = (1, 1);
    const NO_MINS: (i16, i16) = (0, 0);
    &[
        Layout { ty: T::Q4_0, block: 32, sub_block: 32, levels: whole(-8, 7), scales: NO_SCALES, mins: NO_MINS, unpack: legacy::unpack_q4_0, pack: legacy::pack_q4_0 },
        Layout { ty: T::Q4_1, block: 32, sub_block: 32, levels: whole(0, 15), scales: NO_SCALES, mins: (1, 1), unpack: legacy::unpack_q4_1, pack: legacy::pack_q4_1 },
        Layout { ty: T::Q5_0, block: 32, sub_block: 32, levels: whole(-16, 15), scales: NO_SCALES, mins: NO_MINS, unpack: legacy::unpack_q5_0, pack: legacy::pack_q5_0 },
        Layout { ty: T::Q5_1, block: 32, sub_block: 32, levels: whole(0, 31), scales: NO_SCALES, mins: (1, 1), unpack: legacy::unpack_q5_1, pack: legacy::pack_q5_1 },
        Layout { ty: T::Q8_0, block: 32, sub_block: 32, levels: whole(-127, 127), scales: NO_SCALES, mins: NO_MINS, unpack: legacy::unpack_q8_0, pack: legacy::pack_q8_0 },
        Layout { ty: T::Q2_K, block: 256, sub_block: 16, levels: whole(0, 3), scales: (0, 15), mins: (0, 15), unpack: super_blocks::unpack_q2_k, pack: super_blocks::pack_q2_k },
        Layout { ty: T::Q3_K, block: 256, sub_block: 16, levels: whole(-4, 3), scales: (-32, 31), mins: NO_MINS, unpack: super_blocks::unpack_q3_k, pack: super_blocks::pack_q3_k },
        Layout { ty: T::Q4_K, block: 256, sub_block: 32, levels: whole(0, 15), scales: (0, 63), mins: (0, 63), unpack: super_blocks::unpack_q4_k, pack: super_blocks::pack_q4_k },
        Layout { ty: T::Q5_K, block: 256, sub_block: 32, levels: whole(0, 31), scales: (0, 63), mins: (0, 63), unpack: super_blocks::unpack_q5_k, pack: super_blocks::pack_q5_k },
        Layout { ty: T::Q6_K, block: 256, sub_block: 16, levels: whole(-32, 31), scales: (-128, 127), mins: NO_MINS, unpack: super_blocks::unpack_q6_k, pack: super_blocks::pack_q6_k },
        Layout { ty: T::IQ4_NL, block: 32, sub_block: 32, levels: Levels::Table(&NONLINEAR), scales: NO_SCALES, mins: NO_MINS, unpack: nonlinear::unpack_iq4_nl, pack: nonlinear::pack_iq4_nl },
        Layout { ty: T::IQ4_XS, block: 256, sub_block: 32, levels: Levels::Table(&NONLINEAR), scales: (-32, 31), mins: NO_MINS, unpack: nonlinear::unpack_iq4_xs, pack: nonlinear::pack_iq4_xs },
    ]
};

/// The layout of a type, where its blocks can be taken apart.
pub fn layout(ty: TensorType) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.ty == ty)
}

/// The types whose blocks can be taken apart.
pub fn types() -> impl Iterator<Item = TensorType> {
    LAYOUTS.iter().map(|layout| layout.ty)
}

impl Levels {
    /// The number of levels.
    pub fn count(&self) -> usize {
        match *self {
            Self::Whole { first, last } => (last - first) as usize + 1,
            Self::Table(values) => values.len(),
        }
    }

    /// The value of level number `index`.
    #[inline(always)]
    pub fn value(&self, index: u8) -> f32 {
        match self {
            Self::Whole { first, .. } => f32::from(*first + i16::from(index)),
            Self::Table(values) => values[usize::from(index) % 16],
        }
    }
}

impl Layout {
    /// Bytes of a block.
    pub fn bytes(&self) -> usize {
        self.ty.block_bytes()
    }

    /// Sub-blocks in a block.
    pub fn sub_blocks(&self) -> usize {
        self.block / self.sub_block
    }

    /// Whether a block has minima.
    pub fn has_mins(&self) -> bool {
        self.mins.1 > 0
    }

    /// Takes a block apart.
    ///
    /// # Panics
    /// When `bytes` is not one block.
    pub fn unpack(&self, bytes: &[u8]) -> Parts {
        assert_eq!(bytes.len(), self.bytes(), "one block of {}", self.ty);
        let mut parts = Parts::default();
        (self.unpack)(bytes, &mut parts);
        parts
    }

    /// Puts a block together. Numbers that the format cannot hold lose their upper bits.
    ///
    /// # Panics
    /// When `bytes` is not one block.
    pub fn pack(&self, parts: &Parts, bytes: &mut [u8]) {
        assert_eq!(bytes.len(), self.bytes(), "one block of {}", self.ty);
        (self.pack)(parts, bytes);
    }
}

impl Parts {
    /// The value of weight `index`, as the decoders compute it.
    pub fn value(&self, layout: &Layout, index: usize) -> f32 {
        let sub_block = index / layout.sub_block;
        let scale = f16::to_f32(self.d) * f32::from(self.scales[sub_block]);
        let min = f16::to_f32(self.dmin) * f32::from(self.mins[sub_block]);
        scale * layout.levels.value(self.levels[index]) - min
    }
}

#[cfg(test)]
mod tests;
