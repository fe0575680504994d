#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod codec;
mod error;
pub mod f16;
mod formats;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[allow(unsafe_code)]
mod isa;
mod levels;
pub mod parts;
pub mod product;
mod reduce;
mod round;
mod search;
mod validate;

pub use error::{Error, Fault, InvalidBlock};
pub use gguf::TensorType;
pub use isa::Isa;

use formats::Importance;
use isa::Detected;

/// Whether [`encode`] can produce this type.
pub fn can_encode(ty: TensorType) -> bool {
    codec::find(ty).is_some_and(|codec| codec.encode_rows.is_some())
}

/// Whether [`decode`] can read this type.
pub fn can_decode(ty: TensorType) -> bool {
    codec::find(ty).is_some()
}

/// Whether this type can only be encoded with an importance vector.
///
/// The same types as ggml's `ggml_quantize_requires_imatrix`.
pub fn requires_importance(ty: TensorType) -> bool {
    codec::find(ty).is_some_and(|codec| codec.importance == Importance::Required)
}

/// Encodes whole rows of weights as blocks of `ty`.
///
/// `src` holds rows of `row_len` weights each. `importance`, where given, holds `row_len` weights
/// of importance (mean squared activations) that are applied to every row; types that make no use
/// of them ignore them. `dst` is filled: one row of blocks after another.
///
/// The bytes equal those of ggml's `ggml_quantize_chunk` for baseline x86-64, and depend neither on
/// the instruction set nor on how the rows are cut into calls. Any `f32` is accepted, NaN
/// and infinities included; their bytes are unspecified.
///
/// # Errors
///
/// A type that cannot be encoded, a missing importance vector for a type that requires one, rows
/// that are not whole blocks, and lengths that do not fit each other.
pub fn encode(
    ty: TensorType,
    src: &[f32],
    row_len: usize,
    importance: Option<&[f32]>,
    dst: &mut [u8],
) -> Result<(), Error> {
    encode_with(Isa::active(), ty, src, row_len, importance, dst)
}

/// [`encode`] with one instruction set, for tests and measurements.
///
/// An instruction set that this machine lacks is replaced by scalar code.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_with(
    isa: Isa,
    ty: TensorType,
    src: &[f32],
    row_len: usize,
    importance: Option<&[f32]>,
    dst: &mut [u8],
) -> Result<(), Error> {
    let codec = codec::find(ty).ok_or(Error::NotEncodable { ty })?;
    let encode_rows = codec.encode_rows.ok_or(Error::NotEncodable { ty })?;
    if codec.importance == Importance::Required && importance.is_none() {
        return Err(Error::ImportanceRequired { ty });
    }
    let block_len = ty.block_len();
    if !row_len.is_multiple_of(block_len) {
        return Err(Error::PartialBlock {
            ty,
            row_len,
            block_len,
        });
    }
    if let Some(importance) = importance
        && importance.len() != row_len
    {
        return Err(Error::ImportanceLength {
            ty,
            expected: row_len,
            found: importance.len(),
        });
    }
    let whole_rows = match row_len {
        0 => src.is_empty(),
        _ => src.len().is_multiple_of(row_len),
    };
    if !whole_rows {
        return Err(Error::PartialRow {
            ty,
            row_len,
            found: src.len(),
        });
    }
    let expected = src.len() / block_len * ty.block_bytes();
    if dst.len() != expected {
        return Err(Error::EncodedLength {
            ty,
            expected,
            found: dst.len(),
        });
    }
    if row_len == 0 {
        return Ok(());
    }
    let row_bytes = row_len / block_len * ty.block_bytes();
    let rows = src.chunks(codec.rows * row_len);
    let isa = Detected::new(isa);
    for (rows, blocks) in rows.zip(dst.chunks_mut(codec.rows * row_bytes)) {
        encode_rows(isa, rows, importance, blocks);
    }
    Ok(())
}

/// Decodes whole blocks of `ty` to weights.
///
/// `dst` holds exactly the weights of the blocks in `src`. Every bit pattern is accepted; blocks
/// with invalid scales decode to NaN or infinity (see [`validate`]). The values equal those
/// of ggml's `to_float`, bit for bit. Integer and `f64` elements are converted to the nearest `f32`.
///
/// # Errors
///
/// A type without a decoder, bytes that are not whole blocks, and a destination of another length.
pub fn decode(ty: TensorType, src: &[u8], dst: &mut [f32]) -> Result<(), Error> {
    decode_with(Isa::active(), ty, src, dst)
}

/// [`decode`] with one instruction set, for tests and measurements.
///
/// An instruction set that this machine lacks is replaced by scalar code.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_with(isa: Isa, ty: TensorType, src: &[u8], dst: &mut [f32]) -> Result<(), Error> {
    let codec = codec::find(ty).ok_or(Error::NotDecodable { ty })?;
    let block_bytes = ty.block_bytes();
    if !src.len().is_multiple_of(block_bytes) {
        return Err(Error::PartialBytes {
            ty,
            bytes: src.len(),
            block_bytes,
        });
    }
    let expected = src.len() / block_bytes * ty.block_len();
    if dst.len() != expected {
        return Err(Error::DecodedLength {
            ty,
            expected,
            found: dst.len(),
        });
    }
    (codec.decode_rows)(Detected::for_decoders(isa), src, dst);
    Ok(())
}

/// Checks stored blocks of `ty`: whole blocks, with finite scales (or elements).
///
/// Accepts exactly what ggml's `ggml_validate_row_data` accepts.
///
/// # Errors
///
/// The first invalid block and its fault.
pub fn validate(ty: TensorType, blocks: &[u8]) -> Result<(), InvalidBlock> {
    let block_bytes = ty.block_bytes();
    let invalid = |block, fault| InvalidBlock { ty, block, fault };
    if !blocks.len().is_multiple_of(block_bytes) {
        return Err(invalid(blocks.len() / block_bytes, Fault::PartialBlock));
    }
    let Some(codec) = codec::find(ty) else {
        return Err(invalid(0, Fault::NotStored));
    };
    codec
        .check
        .run(blocks, block_bytes)
        .map_err(|(block, fault)| invalid(block, fault))
}

#[cfg(test)]
mod tests;
