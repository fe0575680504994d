//! Predictions of a base model, kept to compare other models with, and the comparison as logits arrive.

use std::ops::Range;

use rayon::prelude::*;

use super::Observation;
use crate::model::LogitsSink;
use crate::ops::exp64;
use crate::perplexity::Softmax;
use crate::wide::wide;

/// A base model's predictions at some positions: what it makes of tiles of logits.
pub struct Predictions {
    vocabulary: usize,
    rows: Vec<Softmax>,
    /// rows x vocabulary.
    logits: Vec<f32>,
    /// The same of probabilities.
    probabilities: Vec<f32>,
}

impl Predictions {
    /// Room for the predictions of tokens `targets`.
    pub fn new(targets: &[u32], vocabulary: usize) -> Self {
        Self {
            vocabulary,
            rows: targets.iter().copied().map(Softmax::new).collect(),
            logits: vec![0.0; targets.len() * vocabulary],
            probabilities: Vec::new(),
        }
    }

    /// Makes probabilities of the logits once all are there.
    pub fn finish(&mut self) {
        self.probabilities = vec![0.0; self.logits.len()];
        self.probabilities
            .par_chunks_exact_mut(self.vocabulary)
            .zip(self.logits.par_chunks_exact(self.vocabulary))
            .zip(&self.rows)
            .for_each(|((probabilities, logits), row)| {
                let log_sum = row.log_sum();
                wide(
                    #[inline(always)]
                    || {
                        for (p, &x) in probabilities.iter_mut().zip(logits) {
                            *p = exp64(f64::from(x) - log_sum) as f32;
                        }
                    },
                );
            });
    }
}

impl LogitsSink for Predictions {
    fn tile(&mut self, vocabulary: Range<usize>, logits: &[f32]) {
        self.rows
            .par_iter_mut()
            .zip(self.logits.par_chunks_exact_mut(self.vocabulary))
            .zip(logits.par_chunks_exact(vocabulary.len()))
            .for_each(|((row, kept), logits)| {
                kept[vocabulary.clone()].copy_from_slice(logits);
                row.add(&vocabulary, logits);
            });
    }
}

/// Another model's predictions at the same positions, compared as they arrive; they are not kept.
pub struct Comparison<'a> {
    base: &'a Predictions,
    rows: Vec<Compared>,
}

#[derive(Clone)]
struct Compared {
    softmax: Softmax,
    /// Σ p·(base logit − logit), p the base model's probability.
    difference: f64,
}

impl<'a> Comparison<'a> {
    /// Nothing compared yet.
    pub fn new(base: &'a Predictions) -> Self {
        let row = |base: &Softmax| Compared {
            softmax: Softmax::new(base.target as u32),
            difference: 0.0,
        };
        Self {
            base,
            rows: base.rows.iter().map(row).collect(),
        }
    }

    /// Observations at each position, in order.
    pub fn observations(&self) -> Vec<Observation> {
        let rows = self.rows.iter().zip(&self.base.rows);
        rows.map(|(row, base)| {
            let (nll, nll_base) = (
                row.softmax.negative_log_probability(),
                base.negative_log_probability(),
            );
            Observation {
                nll,
                nll_base,
                // Σ p·(ln p − ln q), with the logarithms of the sums outside of the sum.
                kld: row.difference + row.softmax.log_sum() - base.log_sum(),
                delta_p: (-nll).exp() - (-nll_base).exp(),
                same_top: row.softmax.top == base.top,
                right: row.softmax.top == base.target,
                right_base: base.top == base.target,
            }
        })
        .collect()
    }
}

impl LogitsSink for Comparison<'_> {
    fn tile(&mut self, vocabulary: Range<usize>, logits: &[f32]) {
        let base = self.base;
        self.rows
            .par_iter_mut()
            .zip(base.logits.par_chunks_exact(base.vocabulary))
            .zip(base.probabilities.par_chunks_exact(base.vocabulary))
            .zip(logits.par_chunks_exact(vocabulary.len()))
            .for_each(|(((row, base), probabilities), logits)| {
                row.softmax.add(&vocabulary, logits);
                let (base, probabilities) = (&base[vocabulary.clone()], &probabilities[vocabulary.clone()]);
                row.difference += wide(
                    #[inline(always)]
                    || weighted_difference(probabilities, base, logits),
                );
            });
    }
}

/// Σ p·(base − logit).
#[inline(always)]
fn weighted_difference(probabilities: &[f32], base: &[f32], logits: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let term = |p: f32, b: f32, x: f32| f64::from(p) * (f64::from(b) - f64::from(x));
    let (p_chunks, p_rest) = probabilities.as_chunks::<LANES>();
    let (b_chunks, b_rest) = base.as_chunks::<LANES>();
    let (x_chunks, x_rest) = logits.as_chunks::<LANES>();
    for ((p, b), x) in p_chunks.iter().zip(b_chunks).zip(x_chunks) {
        for lane in 0..LANES {
            sums[lane] += term(p[lane], b[lane], x[lane]);
        }
    }
    let rest = p_rest.iter().zip(b_rest).zip(x_rest);
    sums.iter().sum::<f64>() + rest.map(|((&p, &b), &x)| term(p, b, x)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits that a few positions have of a vocabulary of 75, in tiles of any width.
    fn show(sink: &mut dyn LogitsSink, logits: &[f32], vocabulary: usize, width: usize) {
        for first in (0..vocabulary).step_by(width) {
            let range = first..vocabulary.min(first + width);
            let tile: Vec<f32> = logits
                .chunks_exact(vocabulary)
                .flat_map(|row| row[range.clone()].iter().copied())
                .collect();
            sink.tile(range, &tile);
        }
    }

    #[test]
    fn tiles_give_what_whole_rows_give() {
        let (vocabulary, targets) = (75, [3, 74, 20]);
        let made = |step: usize| -> Vec<f32> {
            (0..targets.len() * vocabulary)
                .map(|i| ((i * step % 211) as f32 - 100.0) / 15.0)
                .collect()
        };
        let (base, measured) = (made(7919), made(7907));
        for width in [1, 16, 75] {
            let mut predictions = Predictions::new(&targets, vocabulary);
            show(&mut predictions, &base, vocabulary, width);
            predictions.finish();
            let mut comparison = Comparison::new(&predictions);
            show(&mut comparison, &measured, vocabulary, width);
            for (row, found) in comparison.observations().iter().enumerate() {
                let at = row * vocabulary..(row + 1) * vocabulary;
                let expected =
                    Observation::from_logits(&base[at.clone()], &measured[at], targets[row] as usize)
                        .expect("rows of one length");
                let near = |a: f64, b: f64| (a - b).abs() <= 1e-7 * (1.0 + b.abs());
                assert!(near(found.kld, expected.kld), "{width}: {found:?} {expected:?}");
                assert!(near(found.nll, expected.nll) && near(found.nll_base, expected.nll_base));
                assert!(near(found.delta_p, expected.delta_p));
                assert_eq!(found.same_top, expected.same_top);
                assert_eq!(
                    (found.right, found.right_base),
                    (expected.right, expected.right_base)
                );
            }
            let mut same = Comparison::new(&predictions);
            show(&mut same, &base, vocabulary, width);
            assert!(
                same.observations()
                    .iter()
                    .all(|o| o.kld == 0.0 && o.delta_p == 0.0)
            );
        }
    }
}
