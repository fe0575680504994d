//! The output matrix: predictions, labels, and the gradient with which the way back begins.

use rayon::prelude::*;

use super::{Labels, Pass, norm};
use crate::Result;
use crate::model::Decoder;
use crate::ops::{Matrix, exp64};

/// Bytes of logits that exist at a time.
const LOGITS_BYTES: usize = 64 << 20;

impl Pass<'_, '_> {
    /// The gradient with respect to what leaves the last layer.
    pub(super) fn head(
        &mut self,
        decoder: &Decoder,
        last: &Matrix,
        labels: Labels<'_>,
        vocabulary: usize,
    ) -> Result<Matrix> {
        let mut states = self.run.scratch.take(last.rows, last.cols);
        states.copy_from(last);
        if let Some(norm) = &decoder.output_norm {
            norm.apply(&mut states);
        }
        let mut gradient = self.run.scratch.take(last.rows, last.cols);
        let step = (LOGITS_BYTES / size_of::<f32>() / vocabulary.max(1)).clamp(1, last.rows.max(1));
        for first in (0..last.rows).step_by(step) {
            let count = step.min(last.rows - first);
            let range = first * last.cols..(first + count) * last.cols;
            let mut part = self.run.scratch.take(count, last.cols);
            part.data.copy_from_slice(&states.data[range.clone()]);
            let of_part = self.some_positions(decoder, &part, first, labels, vocabulary)?;
            gradient.data[range].copy_from_slice(&of_part.data);
            self.run.scratch.give(part);
            self.run.scratch.give(of_part);
        }
        Ok(match &decoder.output_norm {
            None => gradient,
            Some(norm) => norm::backward(norm, last, &gradient),
        })
    }

    /// The gradient with respect to the final states of some positions, from position `first` on.
    fn some_positions(
        &mut self,
        decoder: &Decoder,
        states: &Matrix,
        first: usize,
        labels: Labels<'_>,
        vocabulary: usize,
    ) -> Result<Matrix> {
        let head = &decoder.head;
        let raw = head.forward_range(&mut self.run, states, 0..vocabulary)?;
        let mut p = self.run.scratch.take(raw.rows, raw.cols);
        p.copy_from(&raw);
        decoder.finish_logits(&mut p.data, 0..vocabulary);
        let labels: Vec<u32> = p
            .data
            .par_chunks_exact_mut(vocabulary)
            .enumerate()
            .map(|(row, p)| {
                softmax(p);
                match labels {
                    Labels::Given(labels) => labels[first + row],
                    Labels::Sampled(seed) => draw(p, uniform(seed, (first + row) as u64)),
                }
            })
            .collect();
        self.tap.output(&head.matrix.name, &p.data, vocabulary, &labels);
        for (p, &label) in p.data.chunks_exact_mut(vocabulary).zip(&labels) {
            p[label as usize] -= 1.0;
        }
        if let Some(cap) = decoder.logit_softcap {
            for (g, raw) in p.data.iter_mut().zip(&raw.data) {
                let tanh = (decoder.logit_scale * raw / cap).tanh();
                *g *= 1.0 - tanh * tanh;
            }
        }
        p.scale(decoder.logit_scale * head.scale);
        let out = self.transposed(&head.matrix, 0..vocabulary, &p)?;
        self.run.scratch.give(p);
        self.run.scratch.give(raw);
        Ok(out)
    }
}

fn softmax(x: &mut [f32]) {
    let max = crate::ops::max(x);
    let mut sum = 0.0;
    for x in x.iter_mut() {
        let e = exp64(f64::from(*x - max));
        sum += e;
        *x = e as f32;
    }
    let scale = 1.0 / sum;
    x.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
}

/// The entry at which the sum of probabilities exceeds a number between 0 and 1.
fn draw(p: &[f32], at: f64) -> u32 {
    let mut sum = 0.0;
    let mut last = 0;
    for (index, &p) in p.iter().enumerate() {
        if p > 0.0 {
            last = index;
            sum += f64::from(p);
            if sum > at {
                break;
            }
        }
    }
    last as u32
}

/// A number from 0 to below 1 that belongs to this position (SplitMix64).
fn uniform(seed: u64, position: u64) -> f64 {
    let mut x = seed.wrapping_add((position + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (x >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_drawn_as_often_as_they_are_likely() {
        let p = [0.1, 0.0, 0.6, 0.3];
        let mut counts = [0u32; 4];
        for position in 0..20_000 {
            counts[draw(&p, uniform(3, position)) as usize] += 1;
        }
        for (count, p) in counts.iter().zip(p) {
            assert!(
                (f64::from(*count) / 20_000.0 - f64::from(p)).abs() < 0.015,
                "{counts:?}"
            );
        }
        assert_eq!(draw(&p, 0.999_999_999_9), 3);
    }
}
