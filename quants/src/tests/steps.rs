//! Bounds of the error of encoding, in each format's own steps, and the formats that are stable.

use proptest::prelude::*;
use proptest::{strategy::ValueTree, test_runner::TestRunner};

use crate::search::nonlinear::VALUES;
use crate::{TensorType as T, decode, encode};

fn round_trip(ty: T, row: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
    let mut bytes = vec![0; row.len() / ty.block_len() * ty.block_bytes()];
    encode(ty, row, row.len(), importance, &mut bytes).expect("encodes");
    let mut decoded = vec![0.0; row.len()];
    decode(ty, &bytes, &mut decoded).expect("decodes");
    decoded
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |max, x| x.abs().max(max))
}

/// A row of 256 weights, of magnitudes whose scales are not subnormal in half precision.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    (0i32..10, proptest::collection::vec(-1.0f32..1.0, 256))
        .prop_map(|(exponent, row)| row.into_iter().map(|x| x * 2f32.powi(exponent)).collect())
}

fn importances() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(0.01f32..4.0, 256)
}

/// The root of the mean squared error, in steps: the difference of neighbouring levels when the largest weight
/// of 16 or 32 has the highest level.
fn error_in_steps(ty: T, row: &[f32], importance: Option<&[f32]>) -> f64 {
    let (steps_to_highest, block) = match ty {
        T::IQ1_S => (1.0, 32),
        T::IQ1_M => (1.0, 16),
        T::IQ2_XXS => (2.5, 32),
        T::IQ2_XS | T::IQ2_S => (2.5, 16),
        _ => (7.5, 32),
    };
    let decoded = round_trip(ty, row, importance);
    let errors = row.chunks(block).zip(decoded.chunks(block)).map(|(x, y)| {
        let step = f64::from(largest(x)) / steps_to_highest;
        x.iter()
            .zip(y)
            .map(|(x, y)| (f64::from(x - y) / step).powi(2))
            .sum::<f64>()
    });
    (errors.sum::<f64>() / row.len() as f64).sqrt()
}

/// Rounding to the nearest level alone gives 0.29 steps (1/√12); the rest comes from levels that no point
/// of the codebook has, from signs that are not stored, and from the scales. One row's error has no useful bound,
/// the mean over many rows, always the same ones, has.
#[test]
fn codebooks_stay_within_their_steps() {
    let mut runner = TestRunner::deterministic();
    let rows: Vec<_> = std::iter::repeat_with(|| {
        let (row, importance) = (rows(), importances())
            .new_tree(&mut runner)
            .expect("a tree")
            .current();
        (row, importance)
    })
    .take(256)
    .collect();
    let mean = |error: &dyn Fn(&[f32], &[f32]) -> f64| {
        rows.iter()
            .map(|(row, importance)| error(row, importance))
            .sum::<f64>()
            / rows.len() as f64
    };
    let bounds = [
        (T::IQ1_S, 0.28),
        (T::IQ1_M, 0.28),
        (T::IQ2_XXS, 0.55),
        (T::IQ2_XS, 0.5),
        (T::IQ2_S, 0.39),
        (T::IQ3_XXS, 0.9),
        (T::IQ3_S, 0.61),
    ];
    for (ty, bound) in bounds {
        let error = mean(&|row, importance| error_in_steps(ty, row, Some(importance)));
        assert!(error < bound, "{ty}: {error} steps");
        if !crate::requires_importance(ty) {
            // x² as the weight lets small weights go.
            let error = mean(&|row, _| error_in_steps(ty, row, None));
            assert!(error < 1.25 * bound, "{ty} without importance: {error} steps");
        }
    }
}

/// Compares each 32 weights' error with that of the levels nearest under the scale that makes the extreme weight
/// exact. `BLOCK` weights share `d`, which begins the stored block.
fn nonlinear_search_gains<const BLOCK: usize>(
    ty: T,
    row: &[f32],
    importance: Option<&[f32]>,
    moved: f32,
) -> Result<(), TestCaseError> {
    let mut bytes = vec![0; row.len() / BLOCK * ty.block_bytes()];
    encode(ty, row, row.len(), importance, &mut bytes).expect("encodes");
    let mut decoded = vec![0.0; row.len()];
    decode(ty, &bytes, &mut decoded).expect("decodes");
    for (start, x) in (0..).step_by(32).zip(row.chunks(32)) {
        let block = start / BLOCK;
        let stored = &bytes[block * ty.block_bytes()..];
        let d = half::f16::from_le_bytes([stored[0], stored[1]]).to_f32().abs();
        let variance =
            row[BLOCK * block..][..BLOCK].iter().map(|x| x * x).sum::<f32>() * (2.0 / BLOCK as f32);
        let weights: Vec<f32> = (0..32)
            .map(|i| {
                importance.map_or(x[i] * x[i], |all| {
                    all[start + i] * (variance + x[i] * x[i]).sqrt()
                })
            })
            .collect();
        let norm = |e: &dyn Fn(usize) -> f32| (0..32).map(|i| weights[i] * e(i).powi(2)).sum::<f32>().sqrt();
        let scale = largest(x) / 127.0 * if x.contains(&largest(x)) { -1.0 } else { 1.0 };
        let exact = norm(&|i| {
            let levels = VALUES
                .iter()
                .map(|&value| (x[i] - scale * f32::from(value)).abs());
            levels.fold(f32::INFINITY, f32::min)
        });
        let error = norm(&|i| x[i] - decoded[start + i]);
        // Half precision resolves no less than 2⁻²⁵, and no level is beyond 127.
        let bound = 1.001 * exact + 127.0 * (moved * d + 2f32.powi(-20)) * norm(&|_| 1.0);
        prop_assert!(error <= bound, "{ty}: error {error}, at most {bound}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The search for the scale does no worse, in its own measure, than the scale at which the extreme weight is
    /// exact. (A bound for each weight does not exist: one of little importance may end far from its level.)
    #[test]
    fn nonlinear_values_are_the_nearest(row in rows(), importance in importances()) {
        for importance in [None, Some(&importance[..])] {
            // The change of the scale when it is stored, in units of the block's `d`: the rounding to half precision; for
            // IQ4_XS also that to a multiple of `d`, and there is no code for 32.
            nonlinear_search_gains::<32>(T::IQ4_NL, &row, importance, 1.0 / 2048.0)?;
            nonlinear_search_gains::<256>(T::IQ4_XS, &row, importance, 1.0 + 32.0 / 2048.0)?;
        }
    }

    #[test]
    fn four_bit_floats_are_the_nearest(row in rows()) {
        for (ty, block, highest_step) in [(T::MXFP4, 32, 2.0 / 4.0), (T::NVFP4, 16, 2.0 / 6.0)] {
            let decoded = round_trip(ty, &row, None);
            for (x, y) in row.chunks(block).zip(decoded.chunks(block)) {
                let highest = largest(x);
                if ty == T::NVFP4 && highest < 6.0 / 64.0 {
                    continue; // the scale is below what E4M3 resolves with three bits
                }
                for (x, y) in x.iter().zip(y) {
                    // Half the highest step, a half more where MXFP4's scale clips 8 to 6, 1/16 for NVFP4's.
                    let bound = highest * highest_step * if ty == T::MXFP4 { 0.5 } else { 0.57 } + 1e-30;
                    prop_assert!((x - y).abs() <= bound, "{ty}: {x} became {y}, bound {bound}");
                }
            }
        }
    }

    #[test]
    fn few_levels_are_the_nearest(row in rows()) {
        for (ty, block) in [(T::TQ1_0, 256), (T::TQ2_0, 256), (T::Q2_0, 64)] {
            let decoded = round_trip(ty, &row, None);
            for (x, y) in row.chunks(block).zip(decoded.chunks(block)) {
                // Half a step, and the rounding of the scale to half precision.
                let bound = largest(x) * (0.5 + 1.0 / 1024.0);
                prop_assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() <= bound), "{}", ty);
            }
        }
        let decoded = round_trip(T::Q1_0, &row, None);
        for (x, y) in row.chunks(128).zip(decoded.chunks(128)) {
            let mean = x.iter().map(|x| x.abs()).sum::<f32>() / 128.0;
            for (x, y) in x.iter().zip(y) {
                prop_assert_eq!(x < &0.0, y < &0.0);
                prop_assert!((y.abs() - mean).abs() <= mean / 1024.0);
            }
        }
    }

    /// Formats that give the same blocks again. The i-quants promise no such thing: their scales are
    /// found by search.
    #[test]
    fn decoded_weights_encode_to_themselves(row in rows()) {
        for ty in [T::TQ1_0, T::TQ2_0, T::Q1_0, T::Q2_0, T::MXFP4, T::NVFP4] {
            if ty == T::NVFP4 && row.chunks(16).any(|x| largest(x) < 6.0 / 64.0) {
                continue;
            }
            let once = round_trip(ty, &row, None);
            prop_assert_eq!(&round_trip(ty, &once, None), &once, "{}", ty);
        }
    }
}
