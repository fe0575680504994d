//! The numbers of a block that all its weights are proportional to.

use gguf::TensorType;

use crate::codec;
use crate::validate::Check;

/// Offsets in a block of the half-precision numbers that its weights are a linear function of, levels and scales of
/// sub-blocks as they are: `d`, and `dmin` where the type has minima. Empty for types whose blocks have none, or have them
/// in pieces.
pub fn factors(ty: TensorType) -> &'static [usize] {
    match codec::find(ty) {
        Some(codec) if ty.is_quantized() && codec.encode_rows.is_some() => match codec.check {
            Check::F16At(offsets) => offsets,
            _ => &[],
        },
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, f16};

    #[test]
    fn weights_are_linear_in_the_factors() {
        let mut state = 1u32;
        let mut seen = 0;
        for ty in gguf::TYPES.iter().map(|row| row.ty) {
            let offsets = factors(ty);
            if offsets.is_empty() {
                continue;
            }
            seen += 1;
            for _ in 0..20 {
                let mut block: Vec<u8> = (0..ty.block_bytes())
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 24) as u8
                    })
                    .collect();
                let mut weights = |factors: &[f32]| {
                    for (&at, &factor) in offsets.iter().zip(factors) {
                        block[at..at + 2].copy_from_slice(&f16::from_f32(factor).to_le_bytes());
                    }
                    let mut weights = vec![0.0; ty.block_len()];
                    decode(ty, &block, &mut weights).unwrap();
                    weights
                };
                // Exact in every product.
                let whole = weights(&[0.5, 0.25]);
                let (of_d, of_dmin) = (weights(&[1.0, 0.0]), weights(&[0.0, 1.0]));
                for (i, whole) in whole.iter().enumerate() {
                    let expected = match offsets.len() {
                        1 => 0.5 * of_d[i],
                        _ => 0.5 * of_d[i] + 0.25 * of_dmin[i],
                    };
                    assert_eq!(*whole, expected, "{ty} weight {i}");
                }
            }
        }
        assert_eq!(seen, 22, "types with factors");
    }
}
