//! Mean squares of gradients.

use std::collections::HashMap;
use std::ops::Range;

use reference::{GradientTap, Labels, Model};

use super::open::OnStep;
use crate::Result;

/// Seed of the labels of the first window; each further window has the next one.
const SEED: u64 = 0x005e_ed0f_1abe_1500;

/// Sums over tokens of the squares of the loss's gradients with respect to what layers put out.
#[derive(Default)]
pub(super) struct Squares {
    /// For each tensor one number for each row of all its matrices.
    rows: HashMap<String, Vec<f64>>,
    /// For each column of the embeddings.
    embedding: (String, Vec<f64>),
    tokens: usize,
}

impl Squares {
    /// Runs windows forward and backward.
    pub(super) fn collect(model: &Model, windows: &[Vec<u32>], on_step: OnStep<'_>) -> Result<Self> {
        let mut squares = Self::default();
        for (index, window) in windows.iter().enumerate() {
            on_step("windows", index, windows.len());
            model.backward(window, Labels::Sampled(SEED + index as u64), &mut squares)?;
            squares.tokens += window.len();
        }
        on_step("windows", windows.len(), windows.len());
        Ok(squares)
    }

    /// Half the means of some rows of a tensor: what d H dᵀ of a row counts in divergence.
    pub(super) fn of(&self, tensor: &str, rows: Range<usize>) -> Vec<f64> {
        let sums = self.rows.get(tensor).map(Vec::as_slice).unwrap_or_default();
        let half = |row: usize| sums.get(row).copied().unwrap_or(0.0) / (2 * self.tokens.max(1)) as f64;
        rows.map(half).collect()
    }

    /// The same for each column of what is looked up in an embedding.
    pub(super) fn of_embedding(&self, tensor: &str, columns: usize) -> Vec<f32> {
        let sums = match self.embedding.0 == tensor {
            true => &self.embedding.1[..],
            false => &[],
        };
        let half = |column: usize| sums.get(column).copied().unwrap_or(0.0) / (2 * self.tokens.max(1)) as f64;
        (0..columns).map(|column| half(column) as f32).collect()
    }
}

/// Adds rows of as many numbers as there are sums, each by `term`.
fn add(sums: &mut [f64], rows: &[f32], term: impl Fn(f64) -> f64) {
    for row in rows.chunks_exact(sums.len().max(1)) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += term(f64::from(*x));
        }
    }
}

impl GradientTap for Squares {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, gradient: &[f32], outputs: usize) {
        let first = expert.unwrap_or(0) * outputs;
        let sums = match self.rows.get_mut(tensor) {
            Some(sums) => sums,
            None => self.rows.entry(tensor.to_owned()).or_default(),
        };
        if sums.len() < first + outputs {
            sums.resize(first + outputs, 0.0);
        }
        add(&mut sums[first..first + outputs], gradient, |g| g * g);
    }

    /// Over all labels that could be drawn, the square of the gradient at a logit is p (1 - p) in the mean.
    fn output(&mut self, tensor: &str, probabilities: &[f32], vocabulary: usize, _labels: &[u32]) {
        let sums = match self.rows.get_mut(tensor) {
            Some(sums) => sums,
            None => self.rows.entry(tensor.to_owned()).or_default(),
        };
        if sums.len() < vocabulary {
            sums.resize(vocabulary, 0.0);
        }
        add(&mut sums[..vocabulary], probabilities, |p| p * (1.0 - p));
    }

    fn embedding(&mut self, tensor: &str, gradient: &[f32], columns: usize) {
        if self.embedding.1.is_empty() {
            self.embedding = (tensor.to_owned(), vec![0.0; columns]);
        }
        add(&mut self.embedding.1, gradient, |g| g * g);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_squares_by_row_and_expert() {
        let mut squares = Squares {
            tokens: 2,
            ..Squares::default()
        };
        squares.linear("a", None, &[1.0, 2.0, 3.0, 0.0], 2);
        squares.linear("b", Some(1), &[2.0, 4.0], 2);
        squares.output("c", &[0.5, 0.5, 0.0], 3, &[0]);
        squares.embedding("e", &[1.0, 3.0, 1.0, 1.0], 2);
        assert_eq!(squares.of("a", 0..2), [10.0 / 4.0, 1.0]);
        assert_eq!(squares.of("b", 0..2), [0.0, 0.0]);
        assert_eq!(squares.of("b", 2..5), [1.0, 4.0, 0.0]);
        assert_eq!(squares.of("c", 0..3), [0.0625, 0.0625, 0.0]);
        assert_eq!(squares.of_embedding("e", 2), [0.5, 2.5]);
        assert_eq!(squares.of_embedding("other", 1), [0.0]);
    }
}
