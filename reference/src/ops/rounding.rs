//! What llama.cpp's CPU backend rounds on the way, for comparisons with it.
//!
//! Its matrix products convert each row of activations to a type that suits the weights' type, and its cache
//! holds keys and values in half precision. None of that is a property of the weights, so a plain run leaves
//! it out; but it is most of the difference between a plain run's figures and llama.cpp's.

use gguf::TensorType;
use quants::f16;
use rayon::prelude::*;

use super::Matrix;

/// Which numbers a run rounds besides the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// None: f32 throughout.
    #[default]
    None,
    /// Those that llama.cpp's CPU backend rounds with its default settings: the inputs of matrix products to
    /// the type that it multiplies with the weights' type, keys and values to half precision.
    LlamaCpp,
}

/// Numbers that share a scale in ggml's Q8_0 and Q8_1.
const SMALL_BLOCK: usize = 32;
/// Numbers that share a scale in ggml's Q8_K.
const LARGE_BLOCK: usize = 256;

/// The form in which ggml's CPU backend multiplies activations with weights of some type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    F32,
    F16,
    BF16,
    /// Blocks of 32 levels with a half-precision scale.
    Q8,
    /// Blocks of 256 levels with a single-precision scale.
    Q8K,
}

impl Operand {
    fn of_weights(ty: TensorType) -> Self {
        use TensorType as T;
        match ty {
            T::F16 => Self::F16,
            T::BF16 => Self::BF16,
            T::Q4_0
            | T::Q4_1
            | T::Q5_0
            | T::Q5_1
            | T::Q8_0
            | T::Q1_0
            | T::Q2_0
            | T::IQ4_NL
            | T::MXFP4
            | T::NVFP4 => Self::Q8,
            T::F32 | T::F64 => Self::F32,
            _ if ty.block_len() == LARGE_BLOCK => Self::Q8K,
            _ => Self::F32,
        }
    }
}

impl Rounding {
    /// Whether rows that are about to be multiplied with weights of type `ty` are rounded.
    pub(crate) fn changes_operand(self, ty: TensorType) -> bool {
        self == Self::LlamaCpp && Operand::of_weights(ty) != Operand::F32
    }

    /// Rounds rows that are about to be multiplied with weights of type `ty`.
    pub(crate) fn operand(self, ty: TensorType, x: &mut Matrix) {
        if !self.changes_operand(ty) {
            return;
        }
        let cols = x.cols.max(1);
        let round: fn(&mut [f32]) = match Operand::of_weights(ty) {
            Operand::F32 => return,
            Operand::F16 => half,
            Operand::BF16 => brain,
            Operand::Q8 => |row| row.chunks_mut(SMALL_BLOCK).for_each(small_block),
            Operand::Q8K => |row| row.chunks_mut(LARGE_BLOCK).for_each(large_block),
        };
        x.data.par_chunks_mut(cols).with_min_len(8).for_each(round);
    }

    /// Rounds keys or values as the cache does.
    pub(crate) fn cached(self, x: &mut Matrix) {
        if self == Self::LlamaCpp {
            x.data.par_chunks_mut(4096).for_each(half);
        }
    }
}

fn half(x: &mut [f32]) {
    for x in x {
        *x = f16::to_f32(f16::from_f32(*x));
    }
}

fn brain(x: &mut [f32]) {
    for x in x {
        *x = f16::bf16_to_f32(f16::bf16_from_f32(*x));
    }
}

/// Levels of largest magnitude over 127, half to even as ggml's vector code rounds.
fn small_block(x: &mut [f32]) {
    let largest = x.iter().fold(0f32, |m, x| m.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let stored = f16::to_f32(f16::from_f32(scale));
    for x in x {
        *x = (*x * inverse).round_ties_even() * stored;
    }
}

/// The same with the sign of the largest in the scale.
fn large_block(x: &mut [f32]) {
    let largest = x.iter().fold(0f32, |m, &x| if x.abs() > m.abs() { x } else { m });
    if largest == 0.0 {
        return;
    }
    let inverse = -127.0 / largest;
    let scale = 1.0 / inverse;
    for x in x {
        *x = (*x * inverse).round_ties_even().min(127.0) * scale;
    }
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
        Rounding::LlamaCpp.operand(ty, &mut m);
        m.data
    }

    #[test]
    fn operands_have_the_precision_of_their_type() {
        let x: Vec<f32> = (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
        assert_eq!(rounded(TensorType::F32, &x), x);
        for (ty, error) in [
            (TensorType::F16, 8.0 / 4096.0),
            (TensorType::BF16, 8.0 / 512.0),
            // Half a level, and the rounding of the scale.
            (TensorType::Q4_0, 50.0 / 7.0 / 254.0 + 8.0 / 2048.0),
            (TensorType::Q4_K, 50.0 / 7.0 / 254.0 + 1e-6),
        ] {
            let y = rounded(ty, &x);
            assert!(x.iter().zip(&y).any(|(a, b)| a != b), "{ty}");
            assert!(x.iter().zip(&y).all(|(a, b)| (a - b).abs() <= error), "{ty}");
        }
        assert_eq!(rounded(TensorType::Q4_K, &[0.0; 256]), [0.0; 256]);
        assert_eq!(rounded(TensorType::Q8_0, &[0.0; 32]), [0.0; 32]);
    }

    /// ggml's own block of eight bits, where it is also a weight type.
    #[test]
    fn small_blocks_equal_q8_0() {
        let x: Vec<f32> = (0..64).map(|i| ((i * 53 % 97) as f32 - 48.0) / 3.1).collect();
        let mut blocks = vec![0; TensorType::Q8_0.row_bytes(64).unwrap() as usize];
        quants::encode(TensorType::Q8_0, &x, 64, None, &mut blocks).unwrap();
        let mut stored = vec![0.0; 64];
        quants::decode(TensorType::Q8_0, &blocks, &mut stored).unwrap();
        for (a, b) in rounded(TensorType::Q8_0, &x).iter().zip(&stored) {
            assert!((a - b).abs() <= 1e-5 * b.abs());
        }
    }

    #[test]
    fn a_plain_run_rounds_nothing() {
        let mut m = Matrix {
            rows: 1,
            cols: 1,
            data: vec![1.0 + f32::EPSILON],
        };
        Rounding::None.operand(TensorType::F16, &mut m);
        Rounding::None.cached(&mut m);
        assert_eq!(m.data, [1.0 + f32::EPSILON]);
        Rounding::LlamaCpp.cached(&mut m);
        assert_eq!(m.data, [1.0]);
    }
}
