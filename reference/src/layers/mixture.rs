//! Mixtures of experts.

use crate::Result;
use crate::model::Run;
use crate::ops::{Activation, Matrix, activate, gate, sigmoid, softmax};

use super::feed_forward::gate_fused;
use super::{ExpertLinear, FeedForward, Linear};

/// Experts that every token goes through beside the chosen ones.
#[derive(Clone, Debug)]
pub(crate) struct SharedExpert {
    pub(crate) layer: FeedForward,
    /// Its output is multiplied by the logistic function of this product, where there is one.
    pub(crate) gate: Option<Linear>,
}

/// Function from a router's outputs to the weights of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scoring {
    /// A softmax over all experts.
    Softmax,
    /// The logistic function of each.
    Sigmoid,
    /// A softmax over the chosen ones.
    SoftmaxOfChosen,
}

/// Experts are chosen from a few groups only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    pub(crate) count: usize,
    pub(crate) used: usize,
    /// Members whose scores, added up, are the score of their group.
    pub(crate) judged_by: usize,
}

/// A router that sends each token through the `used` experts with the highest probabilities (a softmax of its
/// outputs), and the weighted sum of their outputs.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    pub(crate) router: Linear,
    /// `None`: the activation is of what `up` makes.
    pub(crate) gate: Option<ExpertLinear>,
    pub(crate) up: ExpertLinear,
    /// Whether `up` makes the gates too, before the rest.
    pub(crate) fused: bool,
    pub(crate) down: ExpertLinear,
    pub(crate) activation: Activation,
    pub(crate) used: usize,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub(crate) normalize: bool,
    /// Factor on the weights.
    pub(crate) weight_scale: f32,
    pub(crate) scoring: Scoring,
    /// Added to the scores for the choice alone.
    pub(crate) selection_bias: Option<Vec<f32>>,
    pub(crate) groups: Option<Groups>,
    /// Whether an expert's weight multiplies its input instead of its output.
    pub(crate) weigh_inputs: bool,
    pub(crate) shared: Option<SharedExpert>,
    /// To a narrower vector that the chosen experts see, and back from the sum of their outputs.
    pub(crate) narrowed: Option<(Linear, Linear)>,
}

/// The smallest divisor of the weights: the smallest normal f16, as llama.cpp has it.
const SMALLEST_WEIGHT_SUM: f32 = 6.103_515_6e-5;

impl Groups {
    /// Puts the scores of all groups but the best below any other.
    fn mask(self, scores: &mut [f32]) {
        let members = (scores.len() / self.count.max(1)).max(1);
        let judge = |group: &[f32]| {
            let mut best = group.to_vec();
            best.sort_by(|a, b| b.total_cmp(a));
            best.iter().take(self.judged_by).sum::<f32>()
        };
        let judged: Vec<f32> = scores.chunks(members).map(judge).collect();
        let mut order: Vec<usize> = (0..judged.len()).collect();
        order.sort_by(|&a, &b| judged[b].total_cmp(&judged[a]));
        for &group in order.iter().skip(self.used) {
            let end = scores.len().min((group + 1) * members);
            scores[group * members..end].fill(f32::NEG_INFINITY);
        }
    }
}

impl Mixture {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let routed = self.route(run, x)?;
        let mut out = match &self.narrowed {
            None => self.chosen(run, x, &routed)?,
            Some((down, up)) => {
                let narrow = down.forward(run, x)?;
                let sum = self.chosen(run, &narrow, &routed)?;
                let out = up.forward(run, &sum)?;
                run.scratch.give(narrow);
                run.scratch.give(sum);
                out
            }
        };
        if let Some(shared) = &self.shared {
            let mut y = shared.layer.forward(run, x)?;
            if let Some(linear) = &shared.gate {
                let gates = linear.forward(run, x)?;
                for (row, g) in y.data.chunks_exact_mut(x.cols).zip(&gates.data) {
                    let factor = sigmoid(*g);
                    row.iter_mut().for_each(|y| *y *= factor);
                }
                run.scratch.give(gates);
            }
            out.add(&y);
            run.scratch.give(y);
        }
        Ok(out)
    }

    /// The weighted sums of what the chosen experts make of `x`.
    pub(super) fn chosen(
        &self,
        run: &mut Run<'_>,
        x: &Matrix,
        routed: &[Vec<(usize, f32)>],
    ) -> Result<Matrix> {
        let mut out = run.scratch.take(x.rows, x.cols);
        out.data.fill(0.0);
        for (expert, tokens) in routed.iter().enumerate() {
            if tokens.is_empty() {
                continue;
            }
            let mut mine = run.scratch.take(tokens.len(), x.cols);
            for (row, &(token, weight)) in mine.data.chunks_exact_mut(x.cols).zip(tokens) {
                row.copy_from_slice(&x.data[token * x.cols..][..x.cols]);
                if self.weigh_inputs {
                    row.iter_mut().for_each(|x| *x *= weight);
                }
            }
            let mut inner = self.up.forward(run, expert, &mine)?;
            match &self.gate {
                None if self.fused => gate_fused(run, self.activation, &mut inner),
                None => activate(self.activation, &mut inner.data),
                Some(linear) => {
                    let gates = linear.forward(run, expert, &mine)?;
                    gate(self.activation, &gates.data, &mut inner.data);
                    run.scratch.give(gates);
                }
            }
            let down = self.down.forward(run, expert, &inner)?;
            for (row, &(token, weight)) in down.data.chunks_exact(x.cols).zip(tokens) {
                let out = &mut out.data[token * x.cols..][..x.cols];
                let weight = if self.weigh_inputs { 1.0 } else { weight };
                for (o, y) in out.iter_mut().zip(row) {
                    *o += weight * y;
                }
            }
            for m in [mine, inner, down] {
                run.scratch.give(m);
            }
        }
        Ok(out)
    }

    /// For each expert its tokens (row numbers) and their weights.
    pub(super) fn route(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Vec<Vec<(usize, f32)>>> {
        let experts = self.router.matrix.outputs;
        let mut routed = vec![Vec::new(); experts];
        let mut probabilities = self.router.forward(run, x)?;
        for (token, p) in probabilities.data.chunks_exact_mut(experts).enumerate() {
            for (expert, weight) in self.choose(p) {
                routed[expert].push((token, weight));
            }
        }
        run.scratch.give(probabilities);
        Ok(routed)
    }

    /// The chosen experts of one token with their weights, from the router's outputs.
    fn choose(&self, logits: &mut [f32]) -> Vec<(usize, f32)> {
        let p = logits;
        match self.scoring {
            Scoring::Softmax => softmax(p),
            Scoring::Sigmoid => p.iter_mut().for_each(|x| *x = sigmoid(*x)),
            Scoring::SoftmaxOfChosen => {}
        }
        let mut judged = p.to_vec();
        for (score, bias) in judged.iter_mut().zip(self.selection_bias.iter().flatten()) {
            *score += bias;
        }
        if let Some(groups) = self.groups {
            groups.mask(&mut judged);
        }
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&a, &b| judged[b].total_cmp(&judged[a]));
        order.truncate(self.used);
        if self.scoring == Scoring::SoftmaxOfChosen {
            let mut chosen: Vec<f32> = order.iter().map(|&e| p[e]).collect();
            softmax(&mut chosen);
            for (&e, weight) in order.iter().zip(chosen) {
                p[e] = weight;
            }
        }
        let mut factor = self.weight_scale;
        if self.normalize {
            factor /= order.iter().map(|&e| p[e]).sum::<f32>().max(SMALLEST_WEIGHT_SUM);
        }
        order.into_iter().map(|e| (e, p[e] * factor)).collect()
    }

    /// Widest intermediate results, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        let routed = (self.up.matrix.outputs * 2 + self.up.matrix.inputs * 2) * self.used;
        routed.max(
            self.shared
                .as_ref()
                .map_or(0, |s| s.layer.width() + self.up.matrix.inputs),
        )
    }
}
