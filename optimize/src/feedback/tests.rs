use quants::parts::{codebook_types, types};

use super::*;
use crate::metric::Damping;
use crate::moments::{Exact, Moments, Purpose};

/// Pseudo-random numbers of mean zero.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            let mut sum = -2.0;
            for _ in 0..4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                sum += (state >> 8) as f32 / (1 << 24) as f32;
            }
            sum
        })
        .collect()
}

/// Inputs whose columns are mixtures of few sources, of different strengths.
fn inputs(tokens: usize, columns: usize, seed: u32) -> Vec<f32> {
    let sources = columns / 4;
    let mixing = numbers(sources * columns, 7);
    let drawn = numbers(tokens * sources, seed);
    let noise = numbers(tokens * columns, seed + 1);
    let mut x = vec![0.0; tokens * columns];
    for t in 0..tokens {
        for c in 0..columns {
            let mixed: f32 = (0..sources)
                .map(|s| drawn[t * sources + s] * mixing[s * columns + c])
                .sum();
            let strength = 0.2 + (c % 13) as f32 / 6.0;
            x[t * columns + c] = strength * (mixed / (sources as f32).sqrt() + 0.3 * noise[t * columns + c]);
        }
    }
    x
}

/// Mean squared error of what rows put out for some inputs.
fn output_error(ty: TensorType, blocks: &[u8], rows: &[f32], x: &[f32], columns: usize) -> f64 {
    let mut decoded = vec![0.0; rows.len()];
    quants::decode(ty, blocks, &mut decoded).unwrap();
    let mut sum = 0.0;
    for (row, other) in rows.chunks_exact(columns).zip(decoded.chunks_exact(columns)) {
        for x in x.chunks_exact(columns) {
            let off: f32 = (0..columns).map(|c| (row[c] - other[c]) * x[c]).sum();
            sum += f64::from(off) * f64::from(off);
        }
    }
    sum
}

#[test]
fn every_type_puts_out_less_error_on_other_tokens_than_stock() {
    // Rows that end with less than a span, too.
    for columns in [256, 512, 576] {
        let mut moments = Moments::new(columns, Purpose::Teaching);
        moments.add(&inputs(20 * columns, columns, 1), None);
        let mean_squares = moments.mean_squares();
        let (metric, _) = Metric::new(&moments, Damping::default()).unwrap();
        let rows = numbers(8 * columns, 3);
        let others = inputs(100, columns, 99);
        for ty in types().chain(codebook_types()) {
            let Some(encoder) = RowEncoder::new(ty, &metric) else {
                assert!(columns % ty.block_len() != 0, "{ty}");
                continue;
            };
            let size = rows.len() / ty.block_len() * ty.block_bytes();
            let (mut stock, mut learned) = (vec![0; size], vec![0; size]);
            quants::encode(ty, &rows, columns, Some(&mean_squares), &mut stock).unwrap();
            encoder.encode(&rows, &mut learned).unwrap();
            quants::validate(ty, &learned).unwrap();
            let error = |blocks: &[u8]| output_error(ty, blocks, &rows, &others, columns);
            let ratio = error(&learned) / error(&stock);
            assert!(ratio < 0.8, "{ty}, {columns} columns: {ratio}");
        }
    }
}

#[test]
fn rows_of_zeros_and_extreme_weights_stay_finite() {
    let columns = 256;
    let mut moments = Moments::new(columns, Purpose::Teaching);
    let mut x = inputs(20 * columns, columns, 1);
    // Columns that never see anything.
    x.chunks_exact_mut(columns).for_each(|row| row[3..9].fill(0.0));
    moments.add(&x, None);
    let (metric, _) = Metric::new(&moments, Damping::default()).unwrap();
    let mut rows = numbers(4 * columns, 3);
    rows[..columns].fill(0.0);
    rows[columns..2 * columns].iter_mut().for_each(|w| *w *= 1e-30);
    rows[2 * columns + 17] = 1e4;
    for ty in types().chain(codebook_types()) {
        let encoder = RowEncoder::new(ty, &metric).unwrap();
        let mut blocks = vec![0; rows.len() / ty.block_len() * ty.block_bytes()];
        encoder.encode(&rows, &mut blocks).unwrap();
        quants::validate(ty, &blocks).unwrap();
        let mut decoded = vec![0.0; rows.len()];
        quants::decode(ty, &blocks, &mut decoded).unwrap();
        assert!(decoded.iter().all(|w| w.is_finite()), "{ty}");
    }
}

#[test]
fn useless_moments_are_told() {
    let damping = Damping::default();
    assert!(Metric::new(&Moments::new(32, Purpose::Teaching), damping).is_none());
    for bad in [f32::NAN, f32::INFINITY, 1e30] {
        let mut moments = Moments::new(32, Purpose::Teaching);
        moments.add(&[bad; 32], None);
        assert!(Metric::new(&moments, damping).is_none(), "{bad}");
    }
}

/// This test runs itself with other instruction sets, each in a process of its own, and compares what they make.
#[test]
fn bytes_do_not_depend_on_the_instruction_set() {
    const NAME: &str = "feedback::tests::bytes_do_not_depend_on_the_instruction_set";
    const INNER: &str = "QUANTSMITH_TEST_INNER";
    let columns = 256;
    let mut moments = Moments::new(columns, Purpose::Teaching);
    let x = inputs(2 * columns, columns, 1);
    let exact: Vec<f32> = x.iter().map(|x| 1.1 * x).collect();
    let exact = Exact {
        rows: &exact,
        lack: Some(&numbers(2 * 2 * columns, 5)),
    };
    moments.add(&x, Some(exact));
    let (metric, correction) = Metric::new(&moments, Damping::default()).unwrap();
    let rows = correction.targets(&numbers(2 * columns, 3), 0);
    let mut all = Vec::new();
    for ty in types().chain(codebook_types()) {
        let mut blocks = vec![0; rows.len() / ty.block_len() * ty.block_bytes()];
        RowEncoder::new(ty, &metric)
            .unwrap()
            .encode(&rows, &mut blocks)
            .unwrap();
        all.extend(blocks.iter().map(|&byte| u32::from(byte)));
    }
    let made = format!("made {}", crate::digest(&[all]));
    if std::env::var_os(INNER).is_some() {
        println!("{made}");
        return;
    }
    for isa in ["scalar", "avx2"] {
        let done = std::process::Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env("QUANTSMITH_ISA", isa)
            .env(INNER, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(said.contains(&made), "{isa}: {said}");
    }
}
