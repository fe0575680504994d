//! The interface of a block format.

use gguf::TensorType;

use crate::isa::InstructionSet;
use crate::validate::Check;

/// A format that can be decoded.
///
/// Its functions are `#[inline(always)]`, with all they call in their loops: they are compiled once for every
/// instruction set (see [`crate::isa::Work`]).
pub(crate) trait Decode {
    const TYPE: TensorType;
    /// The check of stored blocks; by default of a half-precision scale at their start.
    const CHECK: Check = Check::F16At(&[0]);
    /// Whether the decoder is compiled for instruction sets. Some get slower with the compiler's wider vectors.
    const VECTORIZED: bool = true;

    /// Decodes whole blocks; `dst` is exactly as long as their weights.
    fn decode_row(src: &[u8], dst: &mut [f32]);
}

/// A format that can be encoded.
pub(crate) trait Encode: Decode {
    const IMPORTANCE: Importance = Importance::Optional;
    /// Rows that the encoder takes at a time, at most.
    const ROWS: usize = 1;

    /// Whether the encoder gives the same bytes with every instruction set for rows that are not finite, too. Where it
    /// does not, they are left to [`crate::isa::Scalar`].
    fn handles_non_finite(_with_importance: bool) -> bool {
        false
    }

    /// Encodes rows of whole blocks. `importance` is as long as one row, `dst` exactly as long as the rows' blocks.
    fn encode_row<I: InstructionSet>(isa: I, x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]);
}

/// The use that an encoder has for an importance vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Importance {
    /// Uses it where there is one, or has no use for it.
    Optional,
    /// Gives an unusable result without one.
    Required,
}

/// A format that is multiplied in integers (see [`crate::product`]).
pub(crate) trait Expand: Decode {
    /// Weights that share a scale: 16 or 32.
    const GROUP: usize;
    /// The code of a weight of zero.
    const ZERO: u8;
    /// The largest code: where values lie evenly around zero, twice that of zero.
    const LARGEST: u8 = 2 * Self::ZERO;
    /// Whether weights have offsets.
    const OFFSETS: bool = false;
    /// The rounding of the activations.
    const ROUNDING: Rounding;

    /// Expands whole blocks to codes, scales and offsets.
    fn expand_row(src: &[u8], row: Row<'_>);
}

/// The rounding of activations in products with a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// ggml's Q8_0: blocks of 32 with a half-precision scale.
    Q8_0,
    /// ggml's Q8_1: Q8_0, with the sum of each block in half precision.
    Q8_1,
    /// ggml's Q8_K: blocks of 256 with a single-precision scale.
    Q8K,
}

/// The destination of an expanded row.
pub(crate) struct Row<'a> {
    /// One for each weight.
    pub(crate) codes: &'a mut [u8],
    /// One for each group.
    pub(crate) scales: &'a mut [f32],
    /// One for each group, or none.
    pub(crate) offsets: &'a mut [f32],
}
