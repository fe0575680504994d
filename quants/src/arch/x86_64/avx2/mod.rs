//! Kernels for AVX2.
//!
//! Encoders and decoders are written so that the compiler puts tries, sub-blocks or weights in lanes; here
//! they are compiled once more with AVX2. Where it cannot see the lanes, [`Avx2`] stands in for the inner loop.
//! FMA stays off: it would give other bytes.

mod affine;
mod grid;

use gguf::TensorType as T;

use crate::codec::{Codec, DecodeRow, EncodeRow};
use crate::{iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs, iq4_nl, iq4_xs};
use crate::{mxfp4, nvfp4, q1_0, q2_0, q2_k, q4_1, q4_k, q5_1, q5_k, tq1_0, tq2_0};

/// The inner loops for AVX2. To be used only in functions that are compiled with it.
struct Avx2;

/// A function for the codec table that runs `$body` compiled with AVX2.
macro_rules! encoder {
    ($body:expr) => {{
        #[target_feature(enable = "avx2,f16c")]
        fn with_avx2(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
            $body(x, importance, dst);
        }
        fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
            // SAFETY: `specialize` hands this function out only where the CPU has these features.
            unsafe { with_avx2(x, importance, dst) }
        }
        encode_row as EncodeRow
    }};
}

/// As [`encoder`].
macro_rules! decoder {
    ($body:expr) => {{
        #[target_feature(enable = "avx2,f16c")]
        fn with_avx2(src: &[u8], dst: &mut [f32]) {
            $body(src, dst);
        }
        fn decode_row(src: &[u8], dst: &mut [f32]) {
            // SAFETY: `specialize` hands this function out only where the CPU has these features.
            unsafe { with_avx2(src, dst) }
        }
        decode_row as DecodeRow
    }};
}

/// The encoder of a format with scales and minima, eight sub-blocks in lanes.
macro_rules! affine_encoder {
    ($format:ident) => {{
        fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
            $format::encode_row_with(affine::fit_affine_8, x, importance, dst);
        }
        encode_row as EncodeRow
    }};
}

/// Replaces the functions of a row that have an AVX2 version. The CPU must have AVX2 and F16C.
pub(crate) fn specialize(scalar: Codec) -> Codec {
    let encode_row = match scalar.ty {
        T::Q4_1 => affine_encoder!(q4_1),
        T::Q5_1 => affine_encoder!(q5_1),
        T::Q2_K => affine_encoder!(q2_k),
        T::Q4_K => affine_encoder!(q4_k),
        T::Q5_K => affine_encoder!(q5_k),
        T::IQ2_XXS => encoder!(iq2_xxs::encode_row_with::<Avx2>),
        T::IQ2_XS => encoder!(iq2_xs::encode_row_with::<Avx2>),
        T::IQ2_S => encoder!(iq2_s::encode_row_with::<Avx2>),
        T::IQ3_XXS => encoder!(iq3_xxs::encode_row_with::<Avx2>),
        T::IQ3_S => encoder!(iq3_s::encode_row_with::<Avx2>),
        T::IQ1_S => encoder!(iq1_s::encode_row_with::<Avx2>),
        T::IQ1_M => encoder!(iq1_m::encode_row_with::<Avx2>),
        T::IQ4_NL => encoder!(iq4_nl::encode_row),
        T::IQ4_XS => encoder!(iq4_xs::encode_row),
        T::TQ1_0 => encoder!(tq1_0::encode_row),
        T::TQ2_0 => encoder!(tq2_0::encode_row),
        T::MXFP4 => encoder!(mxfp4::encode_row),
        T::NVFP4 => encoder!(nvfp4::encode_row),
        T::Q1_0 => encoder!(q1_0::encode_row),
        T::Q2_0 => encoder!(q2_0::encode_row),
        _ => return scalar,
    };
    let decode_row = match scalar.ty {
        T::IQ2_XXS => decoder!(iq2_xxs::decode_row),
        T::IQ2_XS => decoder!(iq2_xs::decode_row),
        T::IQ2_S => decoder!(iq2_s::decode_row),
        T::IQ3_XXS => decoder!(iq3_xxs::decode_row),
        T::IQ3_S => decoder!(iq3_s::decode_row),
        T::IQ1_S => decoder!(iq1_s::decode_row),
        T::IQ1_M => decoder!(iq1_m::decode_row),
        T::IQ4_NL => decoder!(iq4_nl::decode_row),
        T::IQ4_XS => decoder!(iq4_xs::decode_row),
        T::TQ1_0 => decoder!(tq1_0::decode_row),
        T::TQ2_0 => decoder!(tq2_0::decode_row),
        T::MXFP4 => decoder!(mxfp4::decode_row),
        T::NVFP4 => decoder!(nvfp4::decode_row),
        T::Q1_0 => decoder!(q1_0::decode_row),
        T::Q2_0 => decoder!(q2_0::decode_row),
        _ => scalar.decode_row,
    };
    Codec {
        encode_row: Some(encode_row),
        decode_row,
        ..scalar
    }
}

#[cfg(test)]
crate::tests::isa_agrees_with_scalar!(crate::Isa::Avx2);
