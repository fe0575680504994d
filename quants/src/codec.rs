//! The codec table: one row per type.

use std::marker::PhantomData;

use gguf::TensorType;

use crate::formats::*;
use crate::isa::{Detected, InstructionSet, Scalar, Vector, Work};
use crate::reduce::is_finite;
use crate::validate::Check;

/// Encodes rows, at most as many as [`Codec::rows`]. A row is whole blocks; importance, where given, is as long as
/// one; the destination is exactly the rows' blocks.
pub(crate) type EncodeRows = fn(Detected, &[f32], Option<&[f32]>, &mut [u8]);

/// Decodes whole blocks; the destination is exactly as long as their weights.
pub(crate) type DecodeRows = fn(Detected, &[u8], &mut [f32]);

/// One row of the codec table.
#[derive(Clone, Copy)]
pub(crate) struct Codec {
    pub(crate) ty: TensorType,
    pub(crate) encode_rows: Option<EncodeRows>,
    /// Rows that the encoder takes at a time, at most.
    pub(crate) rows: usize,
    pub(crate) decode_rows: DecodeRows,
    pub(crate) importance: Importance,
    pub(crate) check: Check,
}

/// A type that can be encoded and decoded.
const fn codec<F: Encode>() -> Codec {
    Codec {
        encode_rows: Some(|isa, x, importance, dst| {
            isa.run_with(EncodeWork::<F>(x, importance, PhantomData), dst);
        }),
        rows: F::ROWS,
        importance: F::IMPORTANCE,
        ..decoder::<F>()
    }
}

/// A type that is only read.
const fn decoder<F: Decode>() -> Codec {
    Codec {
        ty: F::TYPE,
        encode_rows: None,
        rows: 1,
        decode_rows: |isa, src, dst| isa.run_with(DecodeWork::<F>(src, PhantomData), dst),
        importance: Importance::Optional,
        check: F::CHECK,
    }
}

/// The codecs, in order of type id. A type that is not here can be neither encoded nor decoded.
static CODECS: &[Codec] = &[
    codec::<F32>(),
    codec::<F16>(),
    codec::<Q4_0>(),
    codec::<Q4_1>(),
    codec::<Q5_0>(),
    codec::<Q5_1>(),
    codec::<Q8_0>(),
    decoder::<Q8_1>(),
    codec::<Q2_K>(),
    codec::<Q3_K>(),
    codec::<Q4_K>(),
    codec::<Q5_K>(),
    codec::<Q6_K>(),
    decoder::<Q8_K>(),
    codec::<IQ2_XXS>(),
    codec::<IQ2_XS>(),
    codec::<IQ3_XXS>(),
    codec::<IQ1_S>(),
    codec::<IQ4_NL>(),
    codec::<IQ3_S>(),
    codec::<IQ2_S>(),
    codec::<IQ4_XS>(),
    decoder::<I8>(),
    decoder::<I16>(),
    decoder::<I32>(),
    decoder::<I64>(),
    decoder::<F64>(),
    codec::<IQ1_M>(),
    codec::<BF16>(),
    codec::<TQ1_0>(),
    codec::<TQ2_0>(),
    codec::<MXFP4>(),
    codec::<NVFP4>(),
    codec::<Q1_0>(),
    codec::<Q2_0>(),
];

/// The codec of a type; `None` for types without one.
pub(crate) fn find(ty: TensorType) -> Option<&'static Codec> {
    CODECS.iter().find(|codec| codec.ty == ty)
}

/// [`Encode::encode_row`] of `x` with importance.
struct EncodeWork<'a, F>(&'a [f32], Option<&'a [f32]>, PhantomData<F>);

impl<'a, F: Encode> Work for EncodeWork<'a, F> {
    type Output = ();
    type Arg = &'a mut [u8];

    #[inline(always)]
    fn scalar(self, dst: &mut [u8]) {
        let Self(x, importance, _) = self;
        F::encode_row(Scalar, x, importance, dst);
    }

    #[inline(always)]
    fn vector<V: Vector>(self, isa: V, dst: &'a mut [u8]) {
        let Self(x, importance, _) = self;
        let finite = || is_finite(x) && importance.is_none_or(is_finite);
        if F::handles_non_finite(importance.is_some()) || finite() {
            F::encode_row(isa, x, importance, dst);
        } else {
            Scalar.run_with(self, dst);
        }
    }
}

/// [`Decode::decode_row`].
struct DecodeWork<'a, F>(&'a [u8], PhantomData<F>);

impl<'a, F: Decode> Work for DecodeWork<'a, F> {
    type Output = ();
    type Arg = &'a mut [f32];

    #[inline(always)]
    fn scalar(self, dst: &mut [f32]) {
        F::decode_row(self.0, dst);
    }

    #[inline(always)]
    fn vector<V: Vector>(self, _isa: V, dst: &'a mut [f32]) {
        if F::VECTORIZED {
            F::decode_row(self.0, dst);
        } else {
            Scalar.run_with(self, dst);
        }
    }
}
