//! Inputs drawn for tests of moments and what is made of them.

use crate::judge::sum_of_products;
use crate::moments::Exact;

/// Pseudo-random numbers from -1 to 1.
pub(crate) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Inputs of the unquantized model, and what errors of earlier layers make of them: all columns a little of the others.
pub(crate) fn inputs(tokens: usize, n: usize, seed: u32) -> (Vec<f32>, Vec<f32>) {
    let y = numbers(tokens * n, seed);
    let mixing = numbers(n * n, 3);
    let mut x = y.clone();
    for (x, y) in x.chunks_exact_mut(n).zip(y.chunks_exact(n)) {
        for (j, x) in x.iter_mut().enumerate() {
            *x += (0..n).map(|i| 0.1 * y[i] * mixing[i * n + j]).sum::<f32>();
        }
    }
    (y, x)
}

pub(crate) fn exact(rows: &[f32]) -> Exact<'_> {
    Exact { rows, lack: None }
}

/// Mean of (w y − other x)² by definition.
pub(crate) fn brute(w: &[f32], other: &[f32], y: &[f32], x: &[f32], n: usize) -> f64 {
    let tokens = y.chunks_exact(n).zip(x.chunks_exact(n));
    let count = y.len() / n;
    let sum: f64 = tokens
        .map(|(y, x)| {
            let off: f32 = (0..n).map(|i| w[i] * y[i] - other[i] * x[i]).sum();
            f64::from(off * off)
        })
        .sum();
    sum / count as f64
}

/// Lacks of the state, of two outputs: inputs of the unquantized model times `of`, and a little besides.
pub(crate) fn lacking(y: &[f32], of: &[f32], n: usize) -> Vec<f32> {
    let besides = numbers(y.len() / n * 2, 21);
    y.chunks_exact(n)
        .zip(besides.chunks_exact(2))
        .flat_map(|(y, besides)| {
            let made = of.chunks_exact(n).map(|of| sum_of_products(of, y) as f32);
            made.zip(besides).map(|(s, b)| s + 0.1 * b)
        })
        .collect()
}
