//! Mixtures of experts.

use std::sync::Arc;

use crate::Result;
use crate::ops::{Activation, Matrix, Norm, activate, gate, sigmoid, softmax, softplus};
use crate::run::Run;

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
    /// The square root of `ln(1 + e^x)` of each.
    RootOfSoftplus,
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
    pub(crate) narrowed: Option<Narrowed>,
    pub(crate) adjugates: Option<Adjugates>,
    /// Experts that tokens choose by their ids.
    pub(crate) by_token: Option<ByToken>,
    /// Factor on all that leaves it.
    pub(crate) output_scale: f32,
}

/// A narrower vector that the chosen experts see, and the way back from the sum of their outputs.
#[derive(Clone, Debug)]
pub(crate) struct Narrowed {
    pub(crate) down: Linear,
    /// Of the sum.
    pub(crate) norm: Option<Norm>,
    pub(crate) up: Linear,
}

/// Experts of groups of experts: each token goes through those of its chosen experts' groups too, which see the sum of
/// what the experts make (GroveMoE).
#[derive(Clone, Debug)]
pub(crate) struct Adjugates {
    /// One for each group; the router is that of the experts, and is not asked.
    pub(crate) experts: Box<Mixture>,
    /// Experts of a group.
    pub(crate) members: usize,
    /// Factor on what they make.
    pub(crate) scale: f32,
}

/// The chosen experts of each token of the vocabulary (DeepSeek V4's first layers).
#[derive(Clone, Debug)]
pub(crate) struct ByToken {
    /// `used` for each token.
    pub(crate) experts: Arc<[usize]>,
    pub(crate) used: usize,
}

impl ByToken {
    /// Those of a token; none of one beyond the table.
    fn of(&self, token: u32) -> &[usize] {
        let first = (token as usize).saturating_mul(self.used);
        self.experts
            .get(first..first.saturating_add(self.used))
            .unwrap_or_default()
    }
}

/// For each expert its tokens (row numbers) and their weights.
pub(crate) type Routed = Vec<Vec<(usize, f32)>>;

/// Where tokens go.
pub(crate) struct Routes {
    experts: Routed,
    /// Of the groups' experts; nothing where there are none.
    adjugates: Routed,
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

impl Adjugates {
    /// The groups of the chosen experts, the first of them first, with their weights, from all experts' probabilities.
    fn choose(&self, chosen: &[(usize, f32)], p: &[f32]) -> Vec<(usize, f32)> {
        let groups = p.len() / self.members;
        let numbers = chosen
            .iter()
            .take(self.experts.used)
            .map(|(e, _)| e / self.members);
        let numbers: Vec<usize> = numbers.filter(|&group| group < groups).collect();
        let sum = numbers
            .iter()
            .map(|&group| p[group])
            .sum::<f32>()
            .max(SMALLEST_WEIGHT_SUM);
        let factor = self.experts.weight_scale / sum;
        numbers
            .into_iter()
            .map(|group| (group, p[group] * factor))
            .collect()
    }
}

impl Mixture {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let routes = self.routes(run, x)?;
        self.along(run, x, &routes)
    }

    /// Output of the experts for `x`, whose rows go where `routes` says.
    pub(crate) fn along(&self, run: &mut Run<'_>, x: &Matrix, routes: &Routes) -> Result<Matrix> {
        let routed = &routes.experts;
        let mut out = match &self.narrowed {
            None => self.chosen(run, x, routed)?,
            Some(Narrowed { down, norm, up }) => {
                let narrow = down.forward(run, x)?;
                let mut sum = self.chosen(run, &narrow, routed)?;
                if let Some(norm) = norm {
                    norm.apply(&mut sum);
                }
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
        if let Some(adjugates) = &self.adjugates {
            let mut y = adjugates.experts.chosen(run, &out, &routes.adjugates)?;
            y.scale(adjugates.scale);
            out.add(&y);
            run.scratch.give(y);
        }
        out.scale(self.output_scale);
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
    pub(crate) fn route(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Routed> {
        Ok(self.routes(run, x)?.experts)
    }

    /// Where the rows of `x` go.
    pub(crate) fn routes(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Routes> {
        let experts = self.router.matrix.outputs;
        let mut routed = vec![Vec::new(); experts];
        let groups = self.adjugates.as_ref().map_or(0, |a| experts / a.members);
        let mut of_groups = vec![Vec::new(); groups];
        let mut probabilities = self.router.forward(run, x)?;
        for (token, p) in probabilities.data.chunks_exact_mut(experts).enumerate() {
            let of_token = match &self.by_token {
                Some(table) => run.tokens.get(token).map(|&id| table.of(id)),
                None => None,
            };
            let chosen = self.choose(p, of_token);
            if let Some(adjugates) = &self.adjugates {
                for (group, weight) in adjugates.choose(&chosen, p) {
                    of_groups[group].push((token, weight));
                }
            }
            for (expert, weight) in chosen {
                routed[expert].push((token, weight));
            }
        }
        run.scratch.give(probabilities);
        Ok(Routes {
            experts: routed,
            adjugates: of_groups,
        })
    }

    /// The chosen experts of one token with their weights, from the router's outputs.
    /// `of_token` are those that the token's id chooses, whatever the router says.
    fn choose(&self, logits: &mut [f32], of_token: Option<&[usize]>) -> Vec<(usize, f32)> {
        let p = logits;
        match self.scoring {
            Scoring::Softmax => softmax(p),
            Scoring::Sigmoid => p.iter_mut().for_each(|x| *x = sigmoid(*x)),
            Scoring::SoftmaxOfChosen => {}
            Scoring::RootOfSoftplus => p.iter_mut().for_each(|x| *x = softplus(*x).sqrt()),
        }
        let mut judged = p.to_vec();
        for (score, bias) in judged.iter_mut().zip(self.selection_bias.iter().flatten()) {
            *score += bias;
        }
        if let Some(groups) = self.groups {
            groups.mask(&mut judged);
        }
        let order = match of_token {
            Some(experts) => experts.to_vec(),
            None => {
                let mut order: Vec<usize> = (0..p.len()).collect();
                order.sort_by(|&a, &b| judged[b].total_cmp(&judged[a]));
                order.truncate(self.used);
                order
            }
        };
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
