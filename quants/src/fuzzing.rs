//! Bodies of fuzz targets: any bytes may be given; a panic is a finding.

use gguf::TYPES;

use crate::{Isa, decode_with, encode_with, requires_importance, validate};

/// Most weights that are encoded at once: the searches take time.
const MAX_WEIGHTS: usize = 2048;

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

/// Encodes any floats with any importance: every instruction set gives the same bytes, and they decode.
pub fn encode(data: &[u8]) {
    let [ty, flags, rest @ ..] = data else { return };
    let ty = TYPES[usize::from(*ty) % TYPES.len()].ty;
    if !crate::can_encode(ty) {
        return;
    }
    let mut values = floats(rest);
    let with_importance = flags & 1 == 1 || requires_importance(ty);
    let block = ty.block_len();
    let mut row_len = (usize::from(flags >> 1) % 4 + 1) * block;
    if values.len() < row_len {
        // Short inputs are repeated, so that they reach the searches too.
        if values.is_empty() {
            values.push(f32::from(*flags));
        }
        row_len = block;
        let n = values.len();
        for i in 0..2 * block {
            values.push(values[i % n]);
        }
    }
    let importance = with_importance.then(|| {
        let given = values.split_off(values.len() - row_len.min(values.len() / 2).max(1));
        (0..row_len).map(|i| given[i % given.len()]).collect::<Vec<f32>>()
    });
    values.truncate(values.len().min(MAX_WEIGHTS) / row_len * row_len);
    if values.is_empty() {
        return;
    }
    let bytes = values.len() / block * ty.block_bytes();
    let run = |isa| {
        let mut out = vec![0xa5; bytes];
        encode_with(isa, ty, &values, row_len, importance.as_deref(), &mut out).expect("lengths fit");
        out
    };
    let scalar = run(Isa::Scalar);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        assert!(run(isa) == scalar, "{} encodes {ty} differently", isa.name());
    }
    blocks(ty, &scalar);
}

/// Decodes any blocks: every instruction set gives the same bits.
pub fn decode(data: &[u8]) {
    let Some((ty, rest)) = data.split_first() else {
        return;
    };
    let ty = TYPES[usize::from(*ty) % TYPES.len()].ty;
    let whole = rest.len() / ty.block_bytes() * ty.block_bytes();
    blocks(ty, &rest[..whole]);
    // Part of a block is an error, not a panic.
    let _ = validate(ty, rest);
    let _ = decode_with(Isa::Scalar, ty, rest, &mut []);
}

fn blocks(ty: gguf::TensorType, bytes: &[u8]) {
    let _ = validate(ty, bytes);
    if !crate::can_decode(ty) {
        return;
    }
    let run = |isa| {
        let mut out = vec![0f32; bytes.len() / ty.block_bytes() * ty.block_len()];
        decode_with(isa, ty, bytes, &mut out).expect("lengths fit");
        out
    };
    let same = |a: &f32, b: &f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let scalar = run(Isa::Scalar);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let other = run(isa);
        let equal = scalar.iter().zip(&other).all(|(a, b)| same(a, b));
        assert!(equal, "{} decodes {ty} differently", isa.name());
    }
}
