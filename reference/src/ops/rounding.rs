//! Rounding of intermediate values as in llama.cpp's CPU backend, for comparisons with it.
//!
//! Its matrix products convert each row of activations to a type that suits the weights' type (with blocks they
//! are products of integers, see [`quants::product`]), and its cache holds keys and values in half precision. None of that is a property of the weights, so a plain run leaves
//! it out; but it is most of the difference between a plain run's figures and llama.cpp's.

use gguf::TensorType;
use quants::product::{Form, form};
use rayon::prelude::*;

use super::Matrix;

/// Numbers that a run rounds besides the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rounding {
    /// None: f32 throughout.
    #[default]
    None,
    /// Those that llama.cpp's CPU backend rounds with its default settings: the inputs of matrix products to
    /// the type that it multiplies with the weights' type, keys and values to half precision.
    LlamaCpp,
}

/// The form in which ggml's CPU backend multiplies activations with weights of some type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// As they are.
    F32,
    /// Half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// Levels, multiplied as integers.
    Levels(Form),
}

impl Rounding {
    /// Rounding of rows that are multiplied with weights of type `ty`.
    pub(crate) fn operand(self, ty: TensorType) -> Operand {
        match (self, ty) {
            (Self::None, _) => Operand::F32,
            (Self::LlamaCpp, TensorType::F16) => Operand::F16,
            (Self::LlamaCpp, TensorType::BF16) => Operand::BF16,
            (Self::LlamaCpp, _) => form(ty).map_or(Operand::F32, Operand::Levels),
        }
    }

    /// Rounds keys or values as the cache does.
    pub(crate) fn cached(self, x: &mut Matrix) {
        if self == Self::LlamaCpp {
            Operand::F16.round(x);
        }
    }
}

/// Numbers that a thread takes at a time.
const BLOCK: usize = 4096;

impl Operand {
    /// Rounds to the floating-point type; levels are rounded where they are made.
    pub(crate) fn round(self, x: &mut Matrix) {
        let round = match self {
            Self::F32 | Self::Levels(_) => return,
            Self::F16 => half,
            Self::BF16 => brain,
        };
        x.data.par_chunks_mut(BLOCK).for_each(round);
    }
}

fn half(x: &mut [f32]) {
    through(TensorType::F16, x);
}

fn brain(x: &mut [f32]) {
    through(TensorType::BF16, x);
}

/// To a type of two bytes and back, at most [`BLOCK`] numbers, with the codecs of the machine's instruction set.
fn through(ty: TensorType, x: &mut [f32]) {
    let mut bytes = [0; 2 * BLOCK];
    let bytes = &mut bytes[..2 * x.len()];
    let coded = quants::encode(ty, x, x.len(), None, bytes).and_then(|()| quants::decode(ty, bytes, x));
    // Only numbers that are not finite are refused; those are what they were, and show in every product.
    debug_assert!(coded.is_ok() || x.iter().any(|x| !x.is_finite()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(ty: TensorType, data: &[f32]) -> Vec<f32> {
        let mut m = Matrix {
            rows: 1,
            cols: data.len(),
            data: data.to_vec(),
        };
        Rounding::LlamaCpp.operand(ty).round(&mut m);
        m.data
    }

    #[test]
    fn operands_have_the_precision_of_their_type() {
        let x: Vec<f32> = (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
        assert_eq!(rounded(TensorType::F32, &x), x);
        for (ty, error) in [(TensorType::F16, 8.0 / 4096.0), (TensorType::BF16, 8.0 / 512.0)] {
            let y = rounded(ty, &x);
            assert!(x.iter().zip(&y).any(|(a, b)| a != b), "{ty}");
            assert!(x.iter().zip(&y).all(|(a, b)| (a - b).abs() <= error), "{ty}");
        }
    }

    #[test]
    fn blocks_are_multiplied_in_integers_only_when_rounding() {
        for ty in [TensorType::Q4_0, TensorType::Q4_K, TensorType::IQ1_M] {
            assert!(
                matches!(Rounding::LlamaCpp.operand(ty), Operand::Levels(_)),
                "{ty}"
            );
            assert_eq!(Rounding::None.operand(ty), Operand::F32, "{ty}");
        }
    }
}
