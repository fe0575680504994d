//! Gradients with respect to the numbers of blocks.

use std::sync::Arc;

use gguf::TensorType;
use quants::f16;
use quants::parts::factors;
use reference::portable::Strided;

use super::moving::Schedule;
use super::tensor::Tensor;

const COLUMNS: usize = 512;
const ROWS: usize = 50;
const TOKENS: usize = 7;

fn numbers(count: usize, state: &mut u32) -> Vec<f32> {
    (0..count)
        .map(|_| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor(ty: TensorType, state: &mut u32) -> Tensor {
    let weights = numbers(ROWS * COLUMNS, state);
    let mut blocks = vec![0; ty.row_bytes(COLUMNS as u64).unwrap() as usize * ROWS];
    quants::encode(ty, &weights, COLUMNS, Some(&[1.0; COLUMNS]), &mut blocks).unwrap();
    Tensor::new("x".into(), ty, Arc::from(blocks), COLUMNS)
}

/// Types whose blocks have numbers that move.
fn types() -> impl Iterator<Item = TensorType> {
    gguf::TYPES
        .iter()
        .map(|row| row.ty)
        .filter(|ty| !factors(*ty).is_empty())
}

/// Σ g·(W x) of the weights of some blocks.
fn loss(ty: TensorType, blocks: &[u8], x: &[f32], g: &[f32]) -> f64 {
    let mut weights = vec![0.0; ROWS * COLUMNS];
    quants::decode(ty, blocks, &mut weights).unwrap();
    let mut sum = 0.0;
    for (x, g) in x.chunks(COLUMNS).zip(g.chunks(ROWS)) {
        for (weights, g) in weights.chunks(COLUMNS).zip(g) {
            let y: f64 = weights
                .iter()
                .zip(x)
                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                .sum();
            sum += f64::from(*g) * y;
        }
    }
    sum
}

#[test]
fn gradients_are_differences_in_blocks_of_every_type() {
    let mut state = 5;
    let mut seen = 0;
    for ty in types() {
        let mut tensor = tensor(ty, &mut state);
        let (x, g) = (
            numbers(TOKENS * COLUMNS, &mut state),
            numbers(TOKENS * ROWS, &mut state),
        );
        tensor
            .add(
                0..ROWS,
                Strided::rows(&x, TOKENS, COLUMNS),
                Strided::rows(&g, TOKENS, ROWS),
                0.5,
            )
            .unwrap();
        let offsets = factors(ty);
        let whole = loss(ty, &tensor.blocks, &x, &g);
        let size: f64 = tensor
            .scales
            .gradient
            .iter()
            .map(|g| f64::from(*g).powi(2))
            .sum::<f64>();
        let size = (size / tensor.numbers() as f64).sqrt();
        assert!(size > 0.0, "{ty}");
        // The loss is linear in each number: a step of all of it is exact.
        for number in (0..tensor.numbers()).step_by(tensor.numbers() / 37 + 1) {
            let (block, which) = (number / offsets.len(), number % offsets.len());
            let mut without = tensor.blocks.to_vec();
            without[block * ty.block_bytes() + offsets[which]..][..2].fill(0);
            let expected = 0.5 * (whole - loss(ty, &without, &x, &g));
            let found = f64::from(tensor.scales.gradient[number]);
            assert!(
                (found - expected).abs() < 1e-4 * (size + expected.abs()),
                "{ty} number {number}: {found}, difference {expected}"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 22);
}

#[test]
fn rows_of_an_expert_and_rows_that_are_looked_up() {
    let mut state = 9;
    let mut whole = tensor(TensorType::Q4_K, &mut state);
    let (x, g) = (
        numbers(TOKENS * COLUMNS, &mut state),
        numbers(TOKENS * ROWS, &mut state),
    );
    let mut parts = whole.clone();
    let input = Strided::rows(&x, TOKENS, COLUMNS);
    whole
        .add(0..ROWS, input, Strided::rows(&g, TOKENS, ROWS), 1.0)
        .unwrap();
    for range in [0..10, 10..ROWS] {
        let mine: Vec<f32> = g.chunks(ROWS).flat_map(|g| &g[range.clone()]).copied().collect();
        let mine = Strided::rows(&mine, TOKENS, range.len());
        parts.add(range.clone(), input, mine, 1.0).unwrap();
    }
    assert_eq!(whole.scales.gradient, parts.scales.gradient);
    // To look rows up is a product with rows that have a one.
    let tokens = [3u32, 49, 3, 0, 7, 8, 9];
    let mut looked_up = tensor(TensorType::Q6_K, &mut state);
    let mut multiplied = looked_up.clone();
    looked_up.look_up(&tokens, &x, 1.0).unwrap();
    let ones: Vec<f32> = tokens
        .iter()
        .flat_map(|&token| (0..ROWS).map(move |row| f32::from(u8::from(row == token as usize))))
        .collect();
    multiplied
        .add(0..ROWS, input, Strided::rows(&ones, TOKENS, ROWS), 1.0)
        .unwrap();
    for (a, b) in looked_up.scales.gradient.iter().zip(&multiplied.scales.gradient) {
        assert!((a - b).abs() <= 1e-5 * (a.abs() + 1.0), "{a} {b}");
    }
}

#[test]
fn what_is_written_are_the_numbers_in_half_precision_and_nothing_else() {
    let mut state = 3;
    for ty in types() {
        let mut tensor = tensor(ty, &mut state);
        let before = Arc::clone(&tensor.blocks);
        tensor.write();
        assert_eq!(tensor.blocks, before, "{ty}: nothing has moved");
        tensor.scales.gradient = numbers(tensor.numbers(), &mut state);
        tensor.scales.step(Schedule::new(0.05, 20).next());
        tensor.write();
        let offsets = factors(ty);
        let values: Vec<f32> = tensor.scales.values().collect();
        let blocks = tensor
            .blocks
            .chunks(ty.block_bytes())
            .zip(before.chunks(ty.block_bytes()));
        for ((now, before), values) in blocks.zip(values.chunks(offsets.len())) {
            for (at, (now, before)) in now.iter().zip(before).enumerate() {
                let moves = offsets.iter().any(|&o| (o..o + 2).contains(&at));
                assert!(moves || now == before, "{ty}: byte {at}");
            }
            for (&at, value) in offsets.iter().zip(values) {
                assert_eq!(now[at..at + 2], f16::from_f32(*value).to_le_bytes(), "{ty}");
            }
        }
        assert!(tensor.blocks != before, "{ty}: something has moved");
        quants::validate(ty, &tensor.blocks).unwrap();
        tensor.scales.go_back();
        tensor.write();
        assert_eq!(tensor.blocks, before, "{ty}: back at the start");
    }
}
