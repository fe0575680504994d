//! The codec table: one row per type.
//!
//! A format is a file with `encode_row` and `decode_row`, and a row here. Instruction sets replace
//! single functions of a row (see [`crate::isa`]); the rows here are the specification.

use gguf::TensorType;

use crate::formats::{iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs, iq4_nl, iq4_xs};
use crate::formats::{mxfp4, nvfp4, q1_0, q2_0, tq1_0, tq2_0};
use crate::formats::{plain, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0, q8_k};
use crate::isa::{self, Isa};
use crate::search::ROWS;
use crate::validate::Check;

/// Encodes rows, at most as many as [`Codec::rows`]. A row is whole blocks; importance, where given, is as long
/// as one; the destination is exactly the rows' blocks.
pub(crate) type EncodeRow = fn(&[f32], Option<&[f32]>, &mut [u8]);

/// Decodes whole blocks; the destination is exactly as long as their weights.
pub(crate) type DecodeRow = fn(&[u8], &mut [f32]);

/// What an encoder makes of an importance vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Importance {
    /// Uses it where there is one, or has no use for it.
    Optional,
    /// Gives an unusable result without one.
    Required,
}

/// One row of the codec table.
#[derive(Clone, Copy)]
pub(crate) struct Codec {
    pub(crate) ty: TensorType,
    pub(crate) encode_row: Option<EncodeRow>,
    /// How many rows the encoder takes at a time.
    pub(crate) rows: usize,
    pub(crate) decode_row: DecodeRow,
    pub(crate) importance: Importance,
    /// How stored blocks are checked; see [`crate::validate()`].
    pub(crate) check: Check,
}

/// A type that can be encoded and decoded.
const fn codec(ty: TensorType, encode: EncodeRow, decode: DecodeRow, check: Check) -> Codec {
    Codec {
        ty,
        encode_row: Some(encode),
        rows: 1,
        decode_row: decode,
        importance: Importance::Optional,
        check,
    }
}

/// A type that is only read.
const fn decoder(ty: TensorType, decode: DecodeRow, check: Check) -> Codec {
    Codec {
        ty,
        encode_row: None,
        rows: 1,
        decode_row: decode,
        importance: Importance::Optional,
        check,
    }
}

/// A type that cannot be encoded without an importance vector.
const fn needs_importance(codec: Codec) -> Codec {
    Codec {
        importance: Importance::Required,
        ..codec
    }
}

/// A type whose encoder weighs errors with the mean square of the row, and takes several rows to find those of all
/// at once.
const fn several_rows(codec: Codec) -> Codec {
    Codec { rows: ROWS, ..codec }
}

use TensorType as T;

/// The scalar codecs, in order of type id.
#[rustfmt::skip]
pub(crate) static SCALAR: &[Codec] = &[
    codec(T::F32,  plain::f32::encode_row,  plain::f32::decode_row,  Check::F32Elements),
    codec(T::F16,  plain::f16::encode_row,  plain::f16::decode_row,  Check::F16At(&[0])),
    several_rows(codec(T::Q4_0, q4_0::encode_row, q4_0::decode_row, Check::F16At(&[0]))),
    several_rows(codec(T::Q4_1, q4_1::encode_row, q4_1::decode_row, Check::F16At(&[0, 2]))),
    several_rows(codec(T::Q5_0, q5_0::encode_row, q5_0::decode_row, Check::F16At(&[0]))),
    several_rows(codec(T::Q5_1, q5_1::encode_row, q5_1::decode_row, Check::F16At(&[0, 2]))),
    codec(T::Q8_0, q8_0::encode_row,        q8_0::decode_row,        Check::F16At(&[0])),
    decoder(T::Q8_1, q8_k::decode_row_q8_1, Check::NotStored),
    codec(T::Q2_K, q2_k::encode_row,        q2_k::decode_row,        Check::F16At(&[80, 82])),
    codec(T::Q3_K, q3_k::encode_row,        q3_k::decode_row,        Check::F16At(&[108])),
    codec(T::Q4_K, q4_k::encode_row,        q4_k::decode_row,        Check::F16At(&[0, 2])),
    codec(T::Q5_K, q5_k::encode_row,        q5_k::decode_row,        Check::F16At(&[0, 2])),
    codec(T::Q6_K, q6_k::encode_row,        q6_k::decode_row,        Check::F16At(&[208])),
    decoder(T::Q8_K, q8_k::decode_row,      Check::F32Elements),
    needs_importance(codec(T::IQ2_XXS, iq2_xxs::encode_row, iq2_xxs::decode_row, Check::F16At(&[0]))),
    needs_importance(codec(T::IQ2_XS, iq2_xs::encode_row, iq2_xs::decode_row, Check::F16At(&[0]))),
    codec(T::IQ3_XXS, iq3_xxs::encode_row, iq3_xxs::decode_row, Check::F16At(&[0])),
    needs_importance(codec(T::IQ1_S, iq1_s::encode_row, iq1_s::decode_row, Check::F16At(&[0]))),
    codec(T::IQ4_NL, iq4_nl::encode_row, iq4_nl::decode_row, Check::F16At(&[0])),
    codec(T::IQ3_S, iq3_s::encode_row, iq3_s::decode_row, Check::F16At(&[0])),
    codec(T::IQ2_S, iq2_s::encode_row, iq2_s::decode_row, Check::F16At(&[0])),
    codec(T::IQ4_XS, iq4_xs::encode_row, iq4_xs::decode_row, Check::F16At(&[0])),
    decoder(T::I8,  plain::i8::decode_row,  Check::Anything),
    decoder(T::I16, plain::i16::decode_row, Check::Anything),
    decoder(T::I32, plain::i32::decode_row, Check::Anything),
    decoder(T::I64, plain::i64::decode_row, Check::Anything),
    decoder(T::F64, plain::f64::decode_row, Check::F64Elements),
    codec(T::IQ1_M, iq1_m::encode_row, iq1_m::decode_row, Check::F16InTopBits),
    codec(T::BF16, plain::bf16::encode_row, plain::bf16::decode_row, Check::Bf16Elements),
    codec(T::TQ1_0, tq1_0::encode_row, tq1_0::decode_row, Check::F16At(&[52])),
    codec(T::TQ2_0, tq2_0::encode_row, tq2_0::decode_row, Check::F16At(&[64])),
    codec(T::MXFP4, mxfp4::encode_row, mxfp4::decode_row, Check::E8m0),
    codec(T::NVFP4, nvfp4::encode_row, nvfp4::decode_row, Check::Anything),
    codec(T::Q1_0, q1_0::encode_row, q1_0::decode_row, Check::F16At(&[0])),
    codec(T::Q2_0, q2_0::encode_row, q2_0::decode_row, Check::F16At(&[0])),
];

/// The codec of a type with the kernels of an instruction set; `None` for types without one.
pub(crate) fn find(isa: Isa, ty: TensorType) -> Option<Codec> {
    let scalar = SCALAR.iter().find(|codec| codec.ty == ty)?;
    Some(isa::specialize(isa, *scalar))
}
