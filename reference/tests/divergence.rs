//! Divergence against a plain computation in f64 from the same logits, and the logits file read by hand.

use std::path::{Path, PathBuf};

use quantsmith_reference::divergence::{
    LogitsReader, Observation, Statistics, compare, compare_with_file, save_logits,
};
use quantsmith_reference::{Model, PerplexityOptions};

const CONTEXT: usize = 16;
const WINDOWS: usize = 4;
const FIRST: usize = CONTEXT / 2;
const SCORED: usize = CONTEXT - FIRST - 1;

fn load(name: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/forward");
    Model::load(&path.join(name)).unwrap()
}

fn tokens() -> Vec<u32> {
    (0..CONTEXT * WINDOWS)
        .map(|i| ((i * 29 + i * i * 7) % 48) as u32)
        .collect()
}

fn options() -> PerplexityOptions {
    PerplexityOptions::default().context(CONTEXT)
}

/// The logits of the scored positions, window after window, `together` windows run at once: how many there are
/// decides the order of additions.
fn logits(model: &Model, tokens: &[u32], together: usize) -> Vec<Vec<f32>> {
    let windows: Vec<&[u32]> = tokens.chunks_exact(CONTEXT).collect();
    let mut rows = Vec::new();
    for batch in windows.chunks(together) {
        let logits = model.forward(batch, FIRST..CONTEXT - 1, None).unwrap();
        rows.extend((0..logits.rows).map(|i| logits.row(i).to_vec()));
    }
    rows
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let max = row.iter().fold(f64::MIN, |m, &x| m.max(f64::from(x)));
    let sum: f64 = row.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    row.iter().map(|&x| f64::from(x) - max - sum.ln()).collect()
}

/// Expected observation at one position, from both models' log probabilities.
fn check(seen: &Observation, base: &[f64], measured: &[f64], target: usize, cut: f64) {
    let kld: f64 = base
        .iter()
        .zip(measured)
        .filter(|(p, _)| **p > cut)
        .map(|(p, q)| p.exp() * (p - q))
        .sum();
    let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-3), "{a} {b}");
    close(seen.kld, kld);
    close(seen.nll, -measured[target]);
    close(seen.nll_base, -base[target]);
    close(seen.delta_p, measured[target].exp() - base[target].exp());
    let top = |v: &[f64]| (0..v.len()).fold(0, |best, i| if v[i] > v[best] { i } else { best });
    assert_eq!(seen.same_top, top(base) == top(measured));
    assert_eq!(
        (seen.right, seen.right_base),
        (top(measured) == target, top(base) == target)
    );
}

#[test]
fn side_by_side_equals_the_definition() {
    let (base, measured) = (load("llama.gguf"), load("mistral.gguf"));
    let tokens = tokens();
    let models = [measured];
    let seen = compare(&base, &models, &tokens, &options(), &mut |_| {}).unwrap();
    assert_eq!((seen.len(), seen[0].len()), (1, WINDOWS * SCORED));
    let (p, q) = (
        logits(&base, &tokens, WINDOWS),
        logits(&models[0], &tokens, WINDOWS),
    );
    for (i, seen) in seen[0].iter().enumerate() {
        let (window, row) = (i / SCORED, i % SCORED);
        let target = tokens[window * CONTEXT + FIRST + 1 + row] as usize;
        let (p, q) = (log_softmax(&p[i]), log_softmax(&q[i]));
        check(seen, &p, &q, target, f64::NEG_INFINITY);
    }
    let statistics = Statistics::of(&seen[0]).unwrap();
    let mean = seen[0].iter().map(|o| o.kld).sum::<f64>() / (WINDOWS * SCORED) as f64;
    assert!((statistics.kld.value - mean).abs() < 1e-12);
    assert!(mean > 0.01);
}

/// The bytes of the file as llama-perplexity lays them out, without our reader.
#[test]
fn the_logits_file_is_read_by_hand() {
    let (base, measured) = (load("llama.gguf"), load("mistral.gguf"));
    let tokens = tokens();
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("logits");
    save_logits(&base, &tokens, &options(), &path, &mut |_| {}).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(&bytes[..8], b"_logits_");
    assert_eq!(
        [word(8), word(12), word(16)],
        [CONTEXT as u32, 48, WINDOWS as u32]
    );
    assert!(tokens.iter().enumerate().all(|(i, &t)| word(20 + 4 * i) == t));
    let start = 20 + 4 * tokens.len();
    let row_bytes = 8 + 2 * 48;
    assert_eq!(bytes.len(), start + WINDOWS * SCORED * row_bytes);
    let stored: Vec<Vec<f64>> = bytes[start..]
        .chunks_exact(row_bytes)
        .map(|row| {
            let number = |at: usize| f32::from_le_bytes(row[at..at + 4].try_into().unwrap());
            let (scale, smallest) = (number(0), number(4));
            row[8..]
                .chunks_exact(2)
                .map(|c| f64::from(scale * f32::from(u16::from_le_bytes([c[0], c[1]])) + smallest))
                .collect()
        })
        .collect();
    let mut reader = LogitsReader::open(&path).unwrap();
    let seen = compare_with_file(&mut reader, &measured, &options(), &mut |_| {}).unwrap();
    let (p, q) = (
        logits(&base, &tokens, WINDOWS),
        logits(&measured, &tokens, WINDOWS),
    );
    for (i, (seen, stored)) in seen.iter().zip(&stored).enumerate() {
        let (window, row) = (i / SCORED, i % SCORED);
        let exact = log_softmax(&p[i]);
        let largest = exact.iter().copied().fold(f64::MIN, f64::max);
        for (a, b) in stored.iter().zip(&exact) {
            // Clipped at 16 below the largest, in steps of at most 16 / 65535.
            assert!((a - b.max(largest - 16.0)).abs() < 1.3e-4, "{a} {b}");
        }
        let target = tokens[window * CONTEXT + FIRST + 1 + row] as usize;
        check(seen, stored, &log_softmax(&q[i]), target, -16.0);
    }
}
