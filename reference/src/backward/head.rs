//! The output matrix: predictions, labels, and the gradient with which the way back begins.

use std::ops::Range;

use rayon::prelude::*;

use super::{Goal, Labels, Pass, Taught};
use crate::Result;
use crate::layers::Input;
use crate::model::Decoder;
use crate::ops::{Matrix, exp64};
use crate::run::Run;

/// Bytes of logits that exist at a time.
const LOGITS_BYTES: usize = 64 << 20;

impl Pass<'_, '_> {
    /// The gradient with respect to what leaves the last layer.
    pub(super) fn head(
        &mut self,
        decoder: &Decoder,
        last: &Matrix,
        goal: &mut Goal<'_>,
        vocabulary: usize,
    ) -> Result<Matrix> {
        let mut states = self.run.scratch.take(last.rows, last.cols);
        states.copy_from(last);
        if let Some(norm) = &decoder.output_norm {
            norm.apply(&mut states);
        }
        let mut gradient = self.run.scratch.take(last.rows, last.cols);
        for positions in stretches(last.rows, vocabulary) {
            let range = positions.start * last.cols..positions.end * last.cols;
            let part = stretch(&mut self.run, &states.data[range.clone()], last.cols);
            let of_part = self.some_positions(decoder, &part, positions.start, goal, vocabulary)?;
            gradient.data[range].copy_from_slice(&of_part.data);
            self.run.scratch.give(part);
            self.run.scratch.give(of_part);
        }
        Ok(match &decoder.output_norm {
            None => gradient,
            Some(norm) => self.norm(norm, last, &gradient),
        })
    }

    /// The gradient with respect to the final states of some positions, from position `first` on.
    fn some_positions(
        &mut self,
        decoder: &Decoder,
        states: &Matrix,
        first: usize,
        goal: &mut Goal<'_>,
        vocabulary: usize,
    ) -> Result<Matrix> {
        let head = &decoder.head;
        let raw = head.forward_range(&mut self.run, states, 0..vocabulary)?;
        let mut p = self.run.scratch.take(raw.rows, raw.cols);
        p.copy_from(&raw);
        decoder.finish_logits(&mut p.data, 0..vocabulary);
        match goal {
            Goal::Labels(labels) => {
                let wanted = *labels;
                let labels: Vec<u32> = p
                    .data
                    .par_chunks_exact_mut(vocabulary)
                    .enumerate()
                    .map(|(row, p)| {
                        softmax(p);
                        match wanted {
                            Labels::Given(labels) => labels[first + row],
                            Labels::Sampled(seed) => draw(p, uniform(seed, (first + row) as u64)),
                        }
                    })
                    .collect();
                self.tap.output(&head.matrix.name, &p.data, vocabulary, &labels);
                for (p, &label) in p.data.chunks_exact_mut(vocabulary).zip(&labels) {
                    p[label as usize] -= 1.0;
                }
            }
            Goal::Teacher(taught) => {
                let mut expected = taught.logits(first..first + states.rows, vocabulary)?;
                taught.compare(&mut p, &mut expected);
                for (p, expected) in p.data.iter_mut().zip(&expected.data) {
                    *p -= expected;
                }
                taught.run.scratch.give(expected);
            }
        }
        if let Some(cap) = decoder.logit_softcap {
            for (g, raw) in p.data.iter_mut().zip(&raw.data) {
                let tanh = (decoder.logit_scale * raw / cap).tanh();
                *g *= 1.0 - tanh * tanh;
            }
        }
        p.scale(decoder.logit_scale * head.scale);
        if self.tap.sees_weights() {
            let name = &head.matrix.name;
            self.tap
                .weights(name, None, states.view().as_strided(), p.view().as_strided());
        }
        let out = self.transposed(&head.matrix, 0..vocabulary, &p)?;
        self.run.scratch.give(p);
        self.run.scratch.give(raw);
        Ok(out)
    }
}

/// Compares the predictions at all positions, of which these are the normalized final states, with a teacher's.
pub(super) fn divergences(
    decoder: &Decoder,
    run: &mut Run<'_>,
    states: &Matrix,
    taught: &mut Taught<'_>,
    vocabulary: usize,
) -> Result<()> {
    for positions in stretches(states.rows, vocabulary) {
        let range = positions.start * states.cols..positions.end * states.cols;
        let part = stretch(run, &states.data[range], states.cols);
        let mut p = decoder.logits(run, &mut Input::new(&part), 0..vocabulary)?;
        let mut expected = taught.logits(positions, vocabulary)?;
        taught.compare(&mut p, &mut expected);
        taught.run.scratch.give(expected);
        run.scratch.give(p);
        run.scratch.give(part);
    }
    Ok(())
}

impl Taught<'_> {
    /// The teacher's logits at some positions.
    fn logits(&mut self, positions: Range<usize>, vocabulary: usize) -> Result<Matrix> {
        let decoder = self.teacher.model.decoder();
        let columns = decoder.head.matrix.inputs;
        let states = &self.teacher.states[positions.start * columns..positions.end * columns];
        let states = stretch(&mut self.run, states, columns);
        let logits = decoder.logits(&mut self.run, &mut Input::new(&states), 0..vocabulary)?;
        self.run.scratch.give(states);
        Ok(logits)
    }

    /// Notes the divergence at each position and makes probabilities of both models' logits.
    fn compare(&mut self, measured: &mut Matrix, expected: &mut Matrix) {
        let vocabulary = measured.cols;
        let mut divergences = Vec::new();
        measured
            .data
            .par_chunks_exact_mut(vocabulary)
            .zip(expected.data.par_chunks_exact_mut(vocabulary))
            .map(|(q, p)| divergence(q, p))
            .collect_into_vec(&mut divergences);
        self.divergences.extend(divergences);
    }
}

/// The divergence Σ p (ln p − ln q) of logits `q` from logits `p`, both of which become probabilities.
fn divergence(q: &mut [f32], p: &mut [f32]) -> f64 {
    let logits = q.to_vec();
    let of_expected = p.to_vec();
    let apart = softmax(q) - softmax(p);
    let mut sum = 0.0;
    for ((&p, expected), measured) in p.iter().zip(of_expected).zip(logits) {
        sum += f64::from(p) * (f64::from(expected) - f64::from(measured));
    }
    // The probabilities add up to one but for their rounding, which the logarithms of the sums must not weigh.
    let total: f64 = p.iter().map(|&p| f64::from(p)).sum();
    sum + total * apart
}

/// Stretches of positions whose logits exist at a time.
fn stretches(positions: usize, vocabulary: usize) -> impl Iterator<Item = Range<usize>> {
    let step = (LOGITS_BYTES / size_of::<f32>() / vocabulary.max(1)).clamp(1, positions.max(1));
    (0..positions)
        .step_by(step)
        .map(move |first| first..positions.min(first + step))
}

/// A matrix of some rows.
fn stretch(run: &mut Run<'_>, rows: &[f32], columns: usize) -> Matrix {
    let mut part = run.scratch.take(rows.len() / columns.max(1), columns);
    part.data.copy_from_slice(rows);
    part
}

/// Makes probabilities of logits and returns the logarithm of the sum of their exponentials.
fn softmax(x: &mut [f32]) -> f64 {
    let max = crate::ops::max(x);
    let mut sum = 0.0;
    for x in x.iter_mut() {
        let e = exp64(f64::from(*x - max));
        sum += e;
        *x = e as f32;
    }
    let scale = 1.0 / sum;
    x.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
    f64::from(max) + sum.ln()
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
