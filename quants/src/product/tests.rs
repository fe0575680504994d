//! Properties of the products.

use gguf::TensorType;
use proptest::prelude::*;

use super::form::{Form, expand};
pub(crate) use super::kernel::Kernel;
use super::{Activations, Panels, form};
use crate::f16;
use crate::formats::{Rounding, Row};
use crate::isa::product::{Destination, Operands, ROWS};

/// Every form.
pub(crate) fn forms() -> impl Iterator<Item = Form> {
    gguf::TYPES.iter().filter_map(|info| form(info.ty))
}

/// Blocks with any levels and finite scales.
pub(crate) fn blocks(form: Form, count: usize, seed: u64) -> Vec<u8> {
    let (len, bytes) = (form.ty.block_len(), form.ty.block_bytes());
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut out: Vec<u8> = (0..count * bytes).map(|_| random() as u8).collect();
    for block in out.chunks_exact_mut(bytes) {
        // Whatever the format makes of its scales, they are to be numbers of a reasonable size.
        let mut weights = vec![0.0; len];
        for _ in 0..1000 {
            crate::decode(form.ty, block, &mut weights).expect("whole blocks");
            if weights.iter().all(|w| w.abs() < 1e4) {
                break;
            }
            block.iter_mut().for_each(|byte| *byte = random() as u8);
        }
        assert!(weights.iter().all(|w| w.is_finite()), "{}", form.ty);
    }
    out
}

fn row_bytes(form: Form, cols: usize) -> usize {
    cols / form.ty.block_len() * form.ty.block_bytes()
}

fn panels(form: Form, rows: usize, cols: usize, bytes: &[u8]) -> Panels {
    let row_bytes = row_bytes(form, cols);
    let mut panels = Panels::default();
    panels
        .fill(form, rows, cols, |row, out| {
            out.copy_from_slice(&bytes[row * row_bytes..][..out.len()]);
            Ok::<_, ()>(())
        })
        .expect("reads");
    panels
}

/// A kernel's products of random blocks and activations.
pub(crate) fn products(
    kernel: Kernel,
    form: Form,
    (rows, cols, tokens): (usize, usize, usize),
    bytes: &[u8],
    x: &[f32],
) -> Vec<f32> {
    let activations = Activations::new(form, cols, x);
    let mut out = vec![f32::NAN; tokens * rows];
    panels(form, rows, cols, bytes).multiply_with(kernel, &activations, 0, &mut out, rows);
    out
}

/// The scalar kernel's products.
pub(crate) fn scalar_products(form: Form, shape: (usize, usize, usize), bytes: &[u8], x: &[f32]) -> Vec<f32> {
    products(Kernel::Scalar, form, shape, bytes, x)
}

/// A kernel's products of one panel with activations that are all as large: codes are the largest in every second row, 0 in
/// the others.
pub(crate) fn extremes(kernel: Kernel, form: Form, sign: f32) -> Vec<u32> {
    let (cols, tokens) = (512, 5);
    let activations = Activations::new(form, cols, &vec![sign; tokens * cols]);
    let groups = cols / form.group;
    let codes: Vec<u8> = (0..ROWS * cols)
        .map(|at| if at / 4 % 2 == 0 { form.largest } else { 0 })
        .collect();
    let (scales, offsets) = (vec![1.0; ROWS * groups], vec![0.5; ROWS * groups]);
    let operands = Operands {
        panel: &codes,
        scales: &scales,
        offsets: if form.offsets { &offsets } else { &[] },
        ..activations.operands(0, tokens)
    };
    let mut out = vec![f32::NAN; tokens * ROWS];
    let mut to = Destination {
        out: &mut out,
        stride: ROWS,
        width: ROWS,
    };
    kernel.multiply(&operands, &mut to);
    out.into_iter().map(f32::to_bits).collect()
}

/// Tests an instruction set's kernel against the scalar one, bit by bit.
macro_rules! kernel_agrees_with_scalar {
    ($isa:expr) => {
        #[cfg(test)]
        mod product_tests {
            use proptest::prelude::*;

            use crate::product::tests::{Kernel, blocks, extremes, forms, products, scalar_products};

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(6))]
                #[test]
                fn products_equal_the_scalar_ones(
                    seed: u64, rows in 1usize..70, tokens in 1usize..15, blocks_of_256 in 1usize..4,
                    spread in -3f32..3.0,
                ) {
                    // Nothing to test where the machine lacks the instruction set.
                    let Some(kernel) = Kernel::of($isa) else { return Ok(()) };
                    let cols = 256 * blocks_of_256;
                    let x: Vec<f32> = (0..tokens * cols)
                        .map(|i| (((i as u64 * 2_654_435_761) ^ seed) % 2001) as f32 / 1000.0 - 1.0)
                        .map(|x| x * x.abs().powf(spread))
                        .collect();
                    for form in forms() {
                        let count = rows * cols / form.ty.block_len();
                        let bytes = blocks(form, count, seed);
                        let shape = (rows, cols, tokens);
                        let expected = scalar_products(form, shape, &bytes, &x);
                        let found = products(kernel, form, shape, &bytes, &x);
                        for (e, f) in expected.iter().zip(&found) {
                            prop_assert_eq!(e.to_bits(), f.to_bits(), "{}: {} and {}", form.ty, e, f);
                        }
                    }
                }
            }

            /// The largest codes with the largest levels of either sign, whose sums are the largest.
            #[test]
            fn products_of_extremes_equal_the_scalar_ones() {
                let Some(kernel) = Kernel::of($isa) else {
                    return;
                };
                for form in forms() {
                    for sign in [1.0, -1.0] {
                        let [expected, found] =
                            [Kernel::Scalar, kernel].map(|kernel| extremes(kernel, form, sign));
                        assert_eq!(expected, found, "{}", form.ty);
                    }
                }
            }
        }
    };
}
pub(crate) use kernel_agrees_with_scalar;

/// Every type that files hold in blocks is multiplied in integers.
#[test]
fn every_stored_block_type_has_a_form() {
    for info in gguf::TYPES.iter().filter(|info| info.ty.block_len() > 1) {
        let stored = !matches!(info.ty, TensorType::Q8_1 | TensorType::Q8_K);
        if crate::can_decode(info.ty) {
            assert_eq!(form(info.ty).is_some(), stored, "{}", info.ty);
        }
    }
}

/// The codes, scales and offsets (0 where a form has none) of a row of `cols` weights.
fn expanded(form: Form, cols: usize, bytes: &[u8]) -> (Vec<u8>, Vec<f32>, Vec<f32>) {
    let (mut codes, groups) = (vec![0; cols], cols / form.group);
    let (mut scales, mut offsets) = (vec![0.0; groups], vec![0.0; groups]);
    let row = Row {
        codes: &mut codes,
        scales: &mut scales,
        offsets: if form.offsets { &mut offsets } else { &mut [] },
    };
    expand(form.ty, bytes, row);
    (codes, scales, offsets)
}

/// Expanded rows are the decoded weights.
#[test]
fn expanded_rows_stand_for_the_decoded_weights() {
    for form in forms() {
        let cols = 1024;
        let bytes = blocks(form, cols / form.ty.block_len(), 0x1234_5678_9abc);
        let mut weights = vec![0.0; cols];
        crate::decode(form.ty, &bytes, &mut weights).expect("decodes");
        let (codes, scales, offsets) = expanded(form, cols, &bytes);
        for (i, weight) in weights.iter().enumerate() {
            let group = i / form.group;
            let level = f32::from(codes[i]) - f32::from(form.zero);
            let (whole, offset) = (scales[group] * level, offsets[group]);
            let error = (whole + offset - weight).abs();
            assert!(
                error <= 1e-6 * (whole.abs() + offset.abs()),
                "{} {i}: {weight} {whole} {offset}",
                form.ty
            );
        }
    }
}

/// The largest code of a form is what blocks hold at most.
#[test]
fn codes_go_up_to_the_largest() {
    for form in forms() {
        let cols = 256 * 256;
        let bytes = blocks(form, cols / form.ty.block_len(), 0x9e37_79b9_7f4a);
        let (codes, ..) = expanded(form, cols, &bytes);
        assert_eq!(codes.iter().max(), Some(&form.largest), "{}", form.ty);
    }
}

/// Levels as ggml stores them for Q8_0 and Q8_K, and back.
fn rounded(form: Form, x: &[f32]) -> Vec<f64> {
    x.chunks(form.block())
        .flat_map(|x| {
            let (scale, inverse): (f32, f32) = if form.large() {
                let largest = x
                    .iter()
                    .copied()
                    .fold(0f32, |m, x| if x.abs() > m.abs() { x } else { m });
                (1.0 / (-127.0 / largest), -127.0 / largest)
            } else {
                let largest = x.iter().fold(0f32, |m, x| m.max(x.abs()));
                (f16::to_f32(f16::from_f32(largest / 127.0)), 127.0 / largest)
            };
            x.iter()
                .map(move |x| f64::from(scale) * f64::from((x * inverse).round_ties_even().min(127.0)))
                .collect::<Vec<_>>()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Products are those of the decoded weights with the rounded activations.
    #[test]
    fn products_equal_those_of_decoded_weights(seed: u64, rows in 1usize..40, tokens in 1usize..9) {
        let cols = 512;
        let x: Vec<f32> = (0..tokens * cols)
            .map(|i| (((i as u64 * 2_654_435_761) ^ seed) % 4001) as f32 / 1000.0 - 2.0)
            .collect();
        for form in forms() {
            let bytes = blocks(form, rows * cols / form.ty.block_len(), seed);
            let found = scalar_products(form, (rows, cols, tokens), &bytes, &x);
            let mut weights = vec![0.0; rows * cols];
            crate::decode(form.ty, &bytes, &mut weights).expect("decodes");
            let levels = rounded(form, &x);
            for token in 0..tokens {
                for row in 0..rows {
                    let (x, w) = (&levels[token * cols..][..cols], &weights[row * cols..][..cols]);
                    let products = || x.iter().zip(w).map(|(x, w)| x * f64::from(*w));
                    let size: f64 = products().map(f64::abs).sum();
                    let expected: f64 = products().sum();
                    // Offsets and what they are added to can be much larger than the weights; Q8_1 rounds sums
                    // to half precision besides.
                    let tolerance = match form.rounding {
                        Rounding::Q8_1 => 1e-2,
                        _ if form.offsets => 1e-4,
                        _ => 1e-6,
                    };
                    let found = f64::from(found[token * rows + row]);
                    prop_assert!(
                        (found - expected).abs() <= tolerance * size,
                        "{}: {} and {}", form.ty, found, expected
                    );
                }
            }
        }
    }
}
