//! Second moments of a layer's inputs in the form that encoders need.

use std::ops::Range;

use reference::portable::{Panels, Strided};

use crate::correction::Correction;
use crate::factor::factor;
use crate::moments::Moments;

/// Columns that are encoded before their errors go on to the others.
pub(crate) const SPAN: usize = 256;

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
            ridge: 0.05,
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
    /// Prepares moments, damped, and solves with them for what makes up for errors of layers before; `None` when they are
    /// not finite, or singular for all that.
    pub(crate) fn new(moments: &Moments, damping: Damping) -> Option<(Self, Correction)> {
        let n = moments.columns;
        let mut h = moments.means()?;
        let means = moments.columns();
        let diagonal =
            |h: &[f32], i: usize| f64::from(h[i * n + i]) - f64::from(means[i]) * f64::from(means[i]);
        let mean = (0..n).map(|i| diagonal(&h, i)).sum::<f64>() / n as f64;
        let scale = 1.0 / mean;
        if !(scale as f32).is_finite() || mean <= 0.0 {
            return None;
        }
        let keep = f64::from(1.0 - damping.shrink);
        for i in 0..n {
            for j in 0..n {
                // The mean is known much better than how columns vary together, and is not damped.
                let of_means = f64::from(means[i]) * f64::from(means[j]);
                let together = f64::from(h[i * n + j]) - of_means;
                let damped = match i == j {
                    false => together * keep,
                    // A column that is always zero: what it holds does not matter, but stays near its weights.
                    true if h[i * n + j] == 0.0 => mean,
                    true => together.max(0.0) + f64::from(damping.ridge) * mean,
                };
                h[i * n + j] = ((damped + of_means) * scale) as f32;
            }
        }
        let mut factor: Vec<f64> = factor(&h, n)?;
        let importance: Vec<f32> = (0..n)
            .map(|i| {
                let diagonal = factor[i * n + i];
                (diagonal * diagonal) as f32
            })
            .collect();
        let correction = Correction::new(moments, &factor, scale)?;
        // Columns divided by their diagonal: errors of earlier columns become a shift of the target.
        let diagonal: Vec<f64> = (0..n).map(|i| 1.0 / factor[i * n + i]).collect();
        for row in factor.chunks_exact_mut(n) {
            for (x, d) in row.iter_mut().zip(&diagonal) {
                *x *= d;
            }
        }
        let feedback: Vec<f32> = factor.iter().map(|&x| x as f32).collect();
        drop(factor);
        let mut all = importance.iter().chain(&feedback);
        if all.any(|x| !x.is_finite()) {
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
        let metric = Self {
            columns: n,
            importance,
            near_feedback: near(&feedback),
            near_hessian: near(&h),
            feedback: Panels::new(Strided::rows(&feedback, n, n)),
            hessian: Panels::new(Strided::rows(&h, n, n)),
        };
        Some((metric, correction))
    }
}

#[cfg(test)]
mod tests;
