//! Properties of every codec in the table.

mod steps;

use proptest::prelude::*;

use crate::{TensorType, can_decode, can_encode, decode, encode, requires_importance, validate};

fn encodable() -> impl Iterator<Item = TensorType> {
    gguf::TYPES
        .iter()
        .map(|info| info.ty)
        .filter(|ty| can_encode(*ty))
}

/// One encoded row.
fn encoded(ty: TensorType, row: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut bytes = vec![0; row.len() / ty.block_len() * ty.block_bytes()];
    encode(ty, row, row.len(), importance, &mut bytes).expect("encodes");
    bytes
}

fn decoded(ty: TensorType, bytes: &[u8]) -> Vec<f32> {
    let mut row = vec![0.0; bytes.len() / ty.block_bytes() * ty.block_len()];
    decode(ty, bytes, &mut row).expect("decodes");
    row
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let row = [0.5; 512];
    let mut bytes = [0; 4096];
    for ty in encodable() {
        let importance = [1.0; 512];
        let needed = 512 / ty.block_len() * ty.block_bytes();
        let some = Some(&importance[..]);
        assert!(encode(ty, &row, 512, some, &mut bytes[..needed]).is_ok(), "{ty}");
        assert!(encode(ty, &row, 512, some, &mut bytes[..needed - 1]).is_err());
        assert!(encode(ty, &row, 512, some, &mut bytes[..needed + 1]).is_err());
        assert!(encode(ty, &row, 512, Some(&importance[1..]), &mut bytes[..needed]).is_err());
        assert!(encode(ty, &row[1..], 512, some, &mut bytes[..needed]).is_err());
        if ty.block_len() > 1 {
            let error = encode(ty, &row[1..], 511, None, &mut bytes[..needed]);
            assert!(error.is_err(), "{ty}");
        }
        if requires_importance(ty) {
            let error = encode(ty, &row, 512, None, &mut bytes[..needed]).unwrap_err();
            assert!(error.to_string().contains(ty.name()), "{error}");
        }
        let mut out = [0.0; 512];
        assert!(decode(ty, &bytes[..needed], &mut out).is_ok());
        assert!(decode(ty, &bytes[..needed], &mut out[1..]).is_err());
        if ty.block_bytes() > 1 {
            assert!(decode(ty, &bytes[..needed - 1], &mut out).is_err());
        }
    }
}

#[test]
fn empty_rows_encode_to_nothing() {
    for ty in encodable() {
        assert!(encode(ty, &[], 0, Some(&[]), &mut []).is_ok());
        assert!(encode(ty, &[], ty.block_len(), Some(&vec![1.0; ty.block_len()]), &mut []).is_ok());
    }
}

/// Any bit pattern, with the extremes more often than chance gives them.
pub(crate) fn any_float() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => any::<u32>().prop_map(f32::from_bits),
        4 => -1.0_f32..1.0,
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::MAX),
        1 => Just(f32::from_bits(1)),
        1 => Just(0.0),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_input_encodes(
        row in proptest::collection::vec(any_float(), 256),
        importance in proptest::collection::vec(any_float(), 256),
    ) {
        for ty in encodable() {
            let bytes = encoded(ty, &row, Some(&importance));
            prop_assert_eq!(decoded(ty, &bytes).len(), row.len());
            if !requires_importance(ty) {
                let bytes = encoded(ty, &row, None);
                prop_assert_eq!(decoded(ty, &bytes).len(), row.len());
            }
        }
    }

    #[test]
    fn any_bytes_decode(seed in proptest::collection::vec(any::<u8>(), 2048)) {
        for info in gguf::TYPES.iter().filter(|info| can_decode(info.ty)) {
            let whole = seed.len() / info.block_bytes * info.block_bytes;
            let row = decoded(info.ty, &seed[..whole]);
            // Valid blocks of finite scales decode to finite weights, but for the largest scales of MXFP4.
            let bounded = info.ty != TensorType::MXFP4;
            if bounded && validate(info.ty, &seed[..whole]).is_ok() && can_encode(info.ty) {
                prop_assert!(row.iter().all(|x| x.is_finite()), "{}", info.ty);
            }
        }
    }
}

/// Rows of the kinds that encoders find hard, with an importance for each weight.
pub(crate) fn hard_rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    let normal = proptest::collection::vec(-1.0_f32..1.0, 512);
    let cubed = proptest::collection::vec((-1.0_f32..1.0).prop_map(|x| x * x * x), 512);
    let levels = proptest::collection::vec((-4_i8..5).prop_map(|x| f32::from(x) * 0.125), 512);
    let sparse = proptest::collection::vec(prop_oneof![4 => Just(0.0_f32), 1 => -1.0_f32..1.0], 512);
    let any = proptest::collection::vec(any_float(), 512);
    let scaled = |row: Vec<f32>, exponent: i32| row.into_iter().map(|x| x * 2_f32.powi(exponent)).collect();
    let rows = prop_oneof![
        4 => (normal, -8_i32..8).prop_map(move |(row, exponent)| scaled(row, exponent)),
        2 => (cubed, -40_i32..30).prop_map(move |(row, exponent)| scaled(row, exponent)),
        2 => levels,
        2 => sparse,
        1 => any,
    ];
    let importance = proptest::collection::vec(prop_oneof![4 => 0.0_f32..2.0, 1 => Just(0.0)], 512);
    (rows, importance)
}

/// Tests that the kernels of an instruction set give the scalar ones' bits, for every type.
macro_rules! isa_agrees_with_scalar {
    ($isa:expr) => {
        mod agrees_with_scalar {
            use proptest::prelude::*;

            use crate::{Isa, can_decode, can_encode, decode_with, encode_with, requires_importance, tests};

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(128))]

                #[test]
                fn encoders((row, importance) in tests::hard_rows()) {
                    let types = gguf::TYPES.iter().filter(|info| can_encode(info.ty));
                    for ty in types.map(|info| info.ty) {
                        for importance in [Some(&importance[..]), None] {
                            if importance.is_none() && requires_importance(ty) {
                                continue;
                            }
                            let mut scalar = vec![0; row.len() / ty.block_len() * ty.block_bytes()];
                            let mut vector = vec![0xaa; scalar.len()];
                            encode_with(Isa::Scalar, ty, &row, row.len(), importance, &mut scalar).unwrap();
                            encode_with($isa, ty, &row, row.len(), importance, &mut vector).unwrap();
                            prop_assert!(scalar == vector, "{ty}, importance: {}", importance.is_some());
                        }
                    }
                }

                #[test]
                fn decoders(bytes in proptest::collection::vec(any::<u8>(), 2048)) {
                    for info in gguf::TYPES.iter().filter(|info| can_decode(info.ty)) {
                        let bytes = &bytes[..bytes.len() / info.block_bytes * info.block_bytes];
                        let mut scalar = vec![0.0; bytes.len() / info.block_bytes * info.block_len];
                        let mut vector = scalar.clone();
                        decode_with(Isa::Scalar, info.ty, bytes, &mut scalar).unwrap();
                        decode_with($isa, info.ty, bytes, &mut vector).unwrap();
                        for (x, y) in scalar.iter().zip(&vector) {
                            let same = x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
                            prop_assert!(same, "{}: {x} and {y}", info.ty);
                        }
                    }
                }
            }
        }
    };
}
pub(crate) use isa_agrees_with_scalar;
