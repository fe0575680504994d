//! Log probabilities from logits that arrive a range of the vocabulary at a time.

use std::ops::Range;

use rayon::prelude::*;

use crate::model::LogitsSink;
use crate::ops::{exp64, max, wide};

const LANES: usize = 8;

/// The log-softmax of one token in each row, its sums in f64.
pub(crate) struct Scores {
    rows: Vec<Row>,
}

struct Row {
    target: usize,
    /// The target's logit once its range was seen.
    logit: f64,
    max: f32,
    /// Sum of e^(logit - max) over what was seen.
    sum: f64,
}

impl Row {
    /// Takes more of the vocabulary into the sum.
    #[inline(always)]
    fn add(&mut self, logits: &[f32]) {
        let max = max(logits);
        if max > self.max {
            self.sum *= exp64(f64::from(self.max) - f64::from(max));
            self.max = max;
        }
        self.sum += sum_of_exponentials(logits, f64::from(self.max));
    }
}

impl Scores {
    /// `targets`: the token to score in each row.
    pub(crate) fn new(targets: Vec<u32>) -> Self {
        let row = |target| Row {
            target: target as usize,
            logit: f64::NAN,
            max: f32::NEG_INFINITY,
            sum: 0.0,
        };
        Self {
            rows: targets.into_iter().map(row).collect(),
        }
    }

    /// For each row the negative log probability of its target, in nats; NaN when the target was not seen.
    pub(crate) fn negative_log_probabilities(&self) -> Vec<f64> {
        self.rows
            .iter()
            .map(|r| f64::from(r.max) + r.sum.ln() - r.logit)
            .collect()
    }
}

impl LogitsSink for Scores {
    fn tile(&mut self, vocabulary: Range<usize>, logits: &[f32]) {
        self.rows
            .par_iter_mut()
            .zip(logits.par_chunks_exact(vocabulary.len()))
            .for_each(|(row, logits)| {
                if vocabulary.contains(&row.target) {
                    row.logit = f64::from(logits[row.target - vocabulary.start]);
                }
                wide(
                    #[inline(always)]
                    || row.add(logits),
                );
            });
    }
}

#[inline(always)]
fn sum_of_exponentials(logits: &[f32], max: f64) -> f64 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (s, &x) in sums.iter_mut().zip(chunk) {
            *s += exp64(f64::from(x) - max);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| exp64(f64::from(x) - max)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_add_up_to_the_whole_softmax() {
        let rows = 3;
        let vocabulary = 100;
        let logits: Vec<f32> = (0..rows * vocabulary)
            .map(|i| ((i * 7919 % 211) as f32 - 100.0) / 5.0)
            .collect();
        let targets = [0u32, 57, 99];
        let mut scores = Scores::new(targets.to_vec());
        for range in [0..1, 1..40, 40..57, 57..100] {
            let tile: Vec<f32> = (0..rows)
                .flat_map(|r| logits[r * vocabulary..][range.clone()].to_vec())
                .collect();
            scores.tile(range, &tile);
        }
        for (r, got) in scores.negative_log_probabilities().into_iter().enumerate() {
            let row = &logits[r * vocabulary..][..vocabulary];
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            let want = sum.ln() - f64::from(row[targets[r] as usize]);
            assert!((got - want).abs() < 1e-12 * want.abs(), "{got} {want}");
        }
    }

    #[test]
    fn what_is_not_finite_shows() {
        let mut scores = Scores::new(vec![1, 1]);
        scores.tile(0..2, &[f32::NAN, 0.0, f32::INFINITY, 0.0]);
        assert!(scores.negative_log_probabilities().iter().all(|v| !v.is_finite()));
    }
}
