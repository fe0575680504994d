//! A softmax over logits that arrive a range of the vocabulary at a time.

use std::ops::Range;

use crate::ops::{exp64, max};
use crate::wide::wide;

const LANES: usize = 8;

/// Terms of one position's log-softmax, its sums in f64.
#[derive(Clone, Debug)]
pub(crate) struct Softmax {
    pub(crate) target: usize,
    /// The target's logit once its range was seen, else NaN.
    logit: f64,
    max: f32,
    /// Entry with the largest logit, the first of equals.
    pub(crate) top: usize,
    /// Sum of e^(logit - max) over what was seen.
    sum: f64,
}

impl Softmax {
    /// Nothing seen yet.
    pub(crate) fn new(target: u32) -> Self {
        Self {
            target: target as usize,
            logit: f64::NAN,
            max: f32::NEG_INFINITY,
            top: 0,
            sum: 0.0,
        }
    }

    /// Takes in the logits of a range of the vocabulary.
    pub(crate) fn add(&mut self, vocabulary: &Range<usize>, logits: &[f32]) {
        if vocabulary.contains(&self.target) {
            self.logit = f64::from(logits[self.target - vocabulary.start]);
        }
        let largest = wide(
            #[inline(always)]
            || {
                let largest = max(logits);
                if largest > self.max {
                    self.sum *= exp64(f64::from(self.max) - f64::from(largest));
                }
                let above = self.max.max(largest);
                self.sum += sum_of_exponentials(logits, f64::from(above));
                largest
            },
        );
        if largest > self.max {
            self.max = largest;
            let place = logits.iter().position(|&x| x == largest).unwrap_or(0);
            self.top = vocabulary.start + place;
        }
    }

    /// Log of the sum of all exponentials.
    pub(crate) fn log_sum(&self) -> f64 {
        f64::from(self.max) + self.sum.ln()
    }

    /// Negative log probability of the target, in nats; NaN when it was not seen.
    pub(crate) fn negative_log_probability(&self) -> f64 {
        self.log_sum() - self.logit
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
    fn the_first_of_the_largest_is_the_top() {
        let logits = [0.0, 3.0, -1.0, 3.0, 2.0, 3.0];
        for width in 1..=logits.len() {
            let mut softmax = Softmax::new(4);
            for first in (0..logits.len()).step_by(width) {
                let range = first..logits.len().min(first + width);
                softmax.add(&range, &logits[range.clone()]);
            }
            assert_eq!(softmax.top, 1, "{width}");
            let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
            assert!((softmax.negative_log_probability() - (sum.ln() - 2.0)).abs() < 1e-12);
        }
    }
}
