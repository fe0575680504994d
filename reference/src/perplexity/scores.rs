//! Log probabilities from logits that arrive a range of the vocabulary at a time.

use std::ops::Range;

use rayon::prelude::*;

use super::Softmax;
use crate::model::LogitsSink;

/// The log-softmax of one token in each row.
pub(crate) struct Scores {
    rows: Vec<Softmax>,
}

impl Scores {
    /// `targets`: the token to score in each row.
    pub(crate) fn new(targets: Vec<u32>) -> Self {
        Self {
            rows: targets.into_iter().map(Softmax::new).collect(),
        }
    }

    /// For each row the negative log probability of its target, in nats; NaN when the target was not seen.
    pub(crate) fn negative_log_probabilities(&self) -> Vec<f64> {
        self.rows.iter().map(Softmax::negative_log_probability).collect()
    }
}

impl LogitsSink for Scores {
    fn tile(&mut self, vocabulary: Range<usize>, logits: &[f32]) {
        self.rows
            .par_iter_mut()
            .zip(logits.par_chunks_exact(vocabulary.len()))
            .for_each(|(row, logits)| row.add(&vocabulary, logits));
    }
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
