//! Super-blocks of the i-quant encoders.

use zerocopy::{FromBytes, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::blocks_mut;
use crate::formats::importance::error_weights;
use crate::levels::each;
use crate::reduce::sum_of_squares;

/// A super-block to encode.
#[derive(Clone, Copy)]
pub(crate) struct SuperBlock<'a> {
    pub(crate) x: &'a [f32; 256],
    importance: Option<&'a [f32; 256]>,
    /// The format's measure of the weights' variance.
    pub(crate) variance: f32,
}

/// The super-blocks of a row, each with its block to write, which is zeroed. `variance` is the format's function of the
/// sum of squares.
#[inline(always)]
pub(crate) fn super_blocks<'a, B: FromBytes + IntoBytes + KnownLayout + Unaligned + 'a>(
    x: &'a [f32],
    importance: Option<&'a [f32]>,
    variance: impl Fn(f32) -> f32,
    dst: &'a mut [u8],
) -> impl Iterator<Item = (SuperBlock<'a>, &'a mut B)> {
    let x = x.as_chunks::<256>().0.iter();
    x.zip(blocks_mut::<B>(dst))
        .enumerate()
        .map(move |(index, (x, block))| {
            block.zero();
            let super_block = SuperBlock {
                x,
                importance: importance.map(|importance| &importance.as_chunks().0[index]),
                variance: variance(sum_of_squares(x)),
            };
            (super_block, block)
        })
}

impl SuperBlock<'_> {
    /// The weights of the errors of the `index`-th `N` weights: from their importance and the variance, or
    /// `otherwise(x)`.
    #[inline(always)]
    pub(crate) fn weights<const N: usize>(&self, index: usize, otherwise: impl Fn(f32) -> f32) -> [f32; N] {
        let x = &self.x.as_chunks::<N>().0[index];
        match self.importance {
            Some(importance) => error_weights(x, &importance.as_chunks::<N>().0[index], self.variance),
            None => each(x, otherwise),
        }
    }
}
