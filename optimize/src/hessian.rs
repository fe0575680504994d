//! Second moments of a layer's inputs, and what encoders need of them.

use std::ops::Range;

use reference::portable::{Panels, Strided, add_gram};

use crate::factor::factor;

/// Columns that are encoded before their errors go on to the others.
pub(crate) const SPAN: usize = 256;

/// Sums over inputs x of the products of all pairs of columns; only the upper triangle is kept up.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) columns: usize,
    pub(crate) tokens: u64,
    sums: Vec<f32>,
}

impl Moments {
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            columns,
            tokens: 0,
            sums: vec![0.0; columns * columns],
        }
    }

    /// Bytes that moments of this many columns take.
    pub(crate) fn bytes(columns: usize) -> u64 {
        (columns as u64).saturating_mul(columns as u64).saturating_mul(4)
    }

    pub(crate) fn add(&mut self, rows: &[f32]) {
        add_gram(rows, self.columns, &mut self.sums);
        self.tokens += (rows.len() / self.columns) as u64;
    }

    /// Adds `prior` as if it were of this many tokens.
    pub(crate) fn add_prior(&mut self, prior: &Self, tokens: f32) {
        if prior.tokens == 0 {
            return;
        }
        let factor = tokens / prior.tokens as f32;
        for (sum, x) in self.sums.iter_mut().zip(&prior.sums) {
            *sum += factor * x;
        }
        self.tokens += tokens as u64;
    }

    /// Means of the squares of each column.
    pub(crate) fn mean_squares(&self) -> Vec<f32> {
        let tokens = self.tokens.max(1) as f32;
        (0..self.columns)
            .map(|i| self.sums[i * self.columns + i] / tokens)
            .collect()
    }

    /// The whole matrix of means; `None` when an element is not finite or all are zero.
    pub(crate) fn means(mut self) -> Option<Vec<f32>> {
        let n = self.columns;
        let tokens = self.tokens.max(1) as f32;
        for i in 0..n {
            for j in i..n {
                let mean = self.sums[i * n + j] / tokens;
                if !mean.is_finite() {
                    return None;
                }
                self.sums[i * n + j] = mean;
                self.sums[j * n + i] = mean;
            }
        }
        (0..n).any(|i| self.sums[i * n + i] > 0.0).then_some(self.sums)
    }
}

/// How second moments are made safe to solve with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    /// Share by which elements off the diagonal shrink.
    pub shrink: f32,
    /// Part of the mean diagonal that is added to the diagonal.
    pub ridge: f32,
}

impl Default for Damping {
    fn default() -> Self {
        Self {
            shrink: 0.15,
            ridge: 0.01,
        }
    }
}

/// A metric of errors of a row, E = Σ e_i H_ij e_j, and the feedback that belongs to it.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) columns: usize,
    /// How much the error of a column counts once those after it make up for what they can.
    pub(crate) importance: Vec<f32>,
    /// N, above the diagonal: what the error of column i adds to the target of column j.
    pub(crate) feedback: Panels,
    pub(crate) hessian: Panels,
    /// N and H inside each span, row after row.
    pub(crate) near_feedback: Vec<Vec<f32>>,
    pub(crate) near_hessian: Vec<Vec<f32>>,
}

/// The columns of each span.
pub(crate) fn spans(columns: usize) -> impl Iterator<Item = Range<usize>> {
    (0..columns)
        .step_by(SPAN)
        .map(move |first| first..columns.min(first + SPAN))
}

impl Metric {
    /// Prepares moments, damped; `None` when they are not finite, or singular for all that.
    pub(crate) fn new(moments: Moments, damping: Damping) -> Option<Self> {
        let n = moments.columns;
        let mut h = moments.means()?;
        let mean = (0..n).map(|i| f64::from(h[i * n + i])).sum::<f64>() / n as f64;
        let scale = (1.0 / mean) as f32;
        if !scale.is_finite() {
            return None;
        }
        let keep = (1.0 - damping.shrink) * scale;
        for i in 0..n {
            for j in 0..n {
                let x = &mut h[i * n + j];
                *x *= if i == j { scale } else { keep };
            }
            let diagonal = &mut h[i * n + i];
            // A column that is always zero: what it holds does not matter, but stays near its weights.
            *diagonal = if *diagonal > 0.0 { *diagonal } else { 1.0 } + damping.ridge;
        }
        let mut factor: Vec<f64> = factor(&h, n)?;
        let importance: Vec<f32> = (0..n)
            .map(|i| {
                let diagonal = factor[i * n + i];
                (diagonal * diagonal) as f32
            })
            .collect();
        // Columns divided by their diagonal: errors of earlier columns become a shift of the target.
        let diagonal: Vec<f64> = (0..n).map(|i| 1.0 / factor[i * n + i]).collect();
        for row in factor.chunks_exact_mut(n) {
            for (x, d) in row.iter_mut().zip(&diagonal) {
                *x *= d;
            }
        }
        let feedback: Vec<f32> = factor.iter().map(|&x| x as f32).collect();
        drop(factor);
        if importance.iter().chain(&feedback).any(|x| !x.is_finite()) {
            return None;
        }
        let near = |matrix: &[f32]| -> Vec<Vec<f32>> {
            spans(n)
                .map(|span| {
                    span.clone()
                        .flat_map(|i| &matrix[i * n + span.start..i * n + span.end])
                        .copied()
                        .collect()
                })
                .collect()
        };
        Some(Self {
            columns: n,
            importance,
            near_feedback: near(&feedback),
            near_hessian: near(&h),
            feedback: Panels::new(Strided::rows(&feedback, n, n)),
            hessian: Panels::new(Strided::rows(&h, n, n)),
        })
    }
}
