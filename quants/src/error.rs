//! Errors of the codecs: one variant per cause.

use gguf::TensorType;

/// An error of encoding or decoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no encoder for this type.
    #[error("{ty} cannot be encoded")]
    NotEncodable {
        /// The type asked for.
        ty: TensorType,
    },
    /// There is no decoder for this type.
    #[error("{ty} cannot be decoded")]
    NotDecodable {
        /// The type asked for.
        ty: TensorType,
    },
    /// The type is too coarse to be encoded without an importance vector.
    #[error("{ty} can only be encoded with an importance matrix")]
    ImportanceRequired {
        /// The type asked for.
        ty: TensorType,
    },
    /// A row does not consist of whole blocks.
    #[error("rows for {ty}: expected a multiple of {block_len} weights, found {row_len}")]
    PartialBlock {
        /// The type asked for.
        ty: TensorType,
        /// Weights in a row.
        row_len: usize,
        /// Weights in a block.
        block_len: usize,
    },
    /// The source does not consist of whole rows.
    #[error("weights for {ty}: expected whole rows of {row_len}, found {found}")]
    PartialRow {
        /// The type asked for.
        ty: TensorType,
        /// Weights in a row.
        row_len: usize,
        /// Weights in the source.
        found: usize,
    },
    /// The importance vector does not fit the rows.
    #[error("importance for a row of {ty}: expected {expected} values, found {found}")]
    ImportanceLength {
        /// The type asked for.
        ty: TensorType,
        /// Weights in a row.
        expected: usize,
        /// Values in the importance vector.
        found: usize,
    },
    /// The destination of an encoding has the wrong length.
    #[error("destination of {ty} blocks: expected {expected} bytes, found {found}")]
    EncodedLength {
        /// The type asked for.
        ty: TensorType,
        /// Bytes of the encoded rows.
        expected: usize,
        /// Bytes of the destination.
        found: usize,
    },
    /// The bytes to decode are not whole blocks.
    #[error("{ty} blocks: expected a multiple of {block_bytes} bytes, found {bytes}")]
    PartialBytes {
        /// The type asked for.
        ty: TensorType,
        /// Bytes to decode.
        bytes: usize,
        /// Bytes in a block.
        block_bytes: usize,
    },
    /// The destination of a decoding has the wrong length.
    #[error("destination of decoded {ty} blocks: expected {expected} weights, found {found}")]
    DecodedLength {
        /// The type asked for.
        ty: TensorType,
        /// Weights in the blocks.
        expected: usize,
        /// Weights in the destination.
        found: usize,
    },
}

/// A fault of stored blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A scale or element is NaN.
    #[error("NaN")]
    NotANumber,
    /// A scale or element is infinite.
    #[error("infinity")]
    Infinity,
    /// A shared exponent (E8M0) has the value of NaN.
    #[error("invalid shared exponent 0xff")]
    Exponent,
    /// The bytes end inside this block.
    #[error("a partial block")]
    PartialBlock,
    /// Files do not store this type, so there is no rule to check it by.
    #[error("a type that files do not store")]
    NotStored,
}

/// The first invalid block of a run of stored blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ty} block {block}: {fault}")]
#[non_exhaustive]
pub struct InvalidBlock {
    /// The type of the blocks.
    pub ty: TensorType,
    /// Index of the block (of the element, for types without blocks).
    pub block: usize,
    /// The fault.
    pub fault: Fault,
}
