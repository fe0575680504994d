//! Mixtures of experts backwards.

use super::feed_forward::{activated, gated, gated_fused, halves, without_slope};
use super::{Pass, unknown};
use crate::Result;
use crate::layers::{Mixture, Scoring};
use crate::ops::{Matrix, sigmoid};

impl Mixture {
    /// A part that the backward pass does not know.
    pub(super) fn without_backward(&self) -> Option<String> {
        if self.weigh_inputs || self.narrowed.is_some() || self.adjugates.is_some() || self.by_token.is_some()
        {
            return Some("this kind of mixture of experts".to_owned());
        }
        let shared = self
            .shared
            .as_ref()
            .and_then(|shared| shared.layer.without_backward());
        shared.or_else(|| without_slope(self.activation))
    }
}

/// Where a token goes: an expert, the token's place among those of the expert, and the weight.
#[derive(Clone, Copy)]
struct Way {
    expert: usize,
    weight: f32,
    /// The loss's gradient with respect to the weight.
    slope: f64,
}

impl Pass<'_, '_> {
    /// The gradient with respect to the layer's input `x`. The choice of experts is taken as given.
    pub(super) fn mixture(&mut self, layer: &Mixture, x: &Matrix, gradient: &Matrix) -> Result<Matrix> {
        let mut leaving = gradient.clone();
        leaving.scale(layer.output_scale);
        let mut out = Matrix {
            rows: x.rows,
            cols: x.cols,
            data: vec![0.0; x.data.len()],
        };
        let routed = layer.route(&mut self.run, x)?;
        let mut ways: Vec<Vec<Way>> = vec![Vec::new(); x.rows];
        for (expert, tokens) in routed.iter().enumerate() {
            if tokens.is_empty() {
                continue;
            }
            let rows = |m: &Matrix, weighted: bool| Matrix {
                rows: tokens.len(),
                cols: m.cols,
                data: tokens
                    .iter()
                    .flat_map(|&(token, weight)| {
                        let factor = if weighted { weight } else { 1.0 };
                        m.data[token * m.cols..][..m.cols].iter().map(move |x| x * factor)
                    })
                    .collect(),
            };
            let mine = rows(x, false);
            let ups = layer.up.forward(&mut self.run, expert, &mine)?;
            let gates = match &layer.gate {
                Some(linear) => Some(linear.forward(&mut self.run, expert, &mine)?),
                None => None,
            };
            // What the expert makes, for the slope of its weight.
            let mut inner = ups.clone();
            match &gates {
                Some(gates) => crate::ops::gate(layer.activation, &gates.data, &mut inner.data),
                None if layer.fused => inner = halves(layer.activation, &ups),
                None => crate::ops::activate(layer.activation, &mut inner.data),
            }
            let made = layer.down.forward(&mut self.run, expert, &inner)?;
            for (&(token, weight), made) in tokens.iter().zip(made.data.chunks_exact(made.cols)) {
                let leaving = &leaving.data[token * leaving.cols..][..leaving.cols];
                let slope = leaving
                    .iter()
                    .zip(made)
                    .map(|(g, y)| f64::from(*g) * f64::from(*y))
                    .sum();
                ways[token].push(Way {
                    expert,
                    weight,
                    slope,
                });
            }
            let at_made = rows(&leaving, true);
            let at_inner = self.expert(&layer.down, expert, &inner, &at_made)?;
            let at_mine = match (&layer.gate, &gates) {
                (Some(linear), Some(gates)) => {
                    let (at_gates, at_ups) = gated(layer.activation, gates, &ups, &at_inner)?;
                    let mut at_mine = self.expert(&layer.up, expert, &mine, &at_ups)?;
                    at_mine.add(&self.expert(linear, expert, &mine, &at_gates)?);
                    at_mine
                }
                _ => {
                    let at_ups = match layer.fused {
                        true => gated_fused(layer.activation, &ups, &at_inner)?,
                        false => activated(layer.activation, &ups, &at_inner)?,
                    };
                    self.expert(&layer.up, expert, &mine, &at_ups)?
                }
            };
            for (&(token, _), row) in tokens.iter().zip(at_mine.data.chunks_exact(at_mine.cols)) {
                let out = &mut out.data[token * x.cols..][..x.cols];
                out.iter_mut().zip(row).for_each(|(o, g)| *o += g);
            }
        }
        self.router(layer, x, &ways, &mut out)?;
        self.shared(layer, x, &leaving, &mut out)?;
        Ok(out)
    }

    /// Adds what comes back through the router.
    fn router(&mut self, layer: &Mixture, x: &Matrix, ways: &[Vec<Way>], out: &mut Matrix) -> Result<()> {
        let experts = layer.router.matrix.outputs;
        let mut logits = layer.router.forward_range(&mut self.run, x, 0..experts)?;
        for (logits, ways) in logits.data.chunks_exact_mut(experts).zip(ways) {
            let scores = scores(layer, logits, ways);
            // Weights are w = scale · s, and with normalization scale · s / Σ s over the chosen.
            let sum: f64 = ways.iter().map(|way| scores[way.expert]).sum();
            let scale = f64::from(layer.weight_scale);
            let mean: f64 = ways.iter().map(|way| way.slope * f64::from(way.weight)).sum();
            let mut slopes = vec![0.0; experts];
            for way in ways {
                slopes[way.expert] = match layer.normalize {
                    true if sum > 0.0 => (way.slope * scale - mean) / sum,
                    true => 0.0,
                    false => way.slope * scale,
                };
            }
            match layer.scoring {
                Scoring::Sigmoid => {
                    for ((g, slope), s) in logits.iter_mut().zip(&slopes).zip(&scores) {
                        *g = (slope * s * (1.0 - s)) as f32;
                    }
                }
                // The slope of the softplus is 1 - e^-softplus.
                Scoring::RootOfSoftplus => {
                    for ((g, slope), s) in logits.iter_mut().zip(&slopes).zip(&scores) {
                        let slope_of_root = -(-s * s).exp_m1() / (2.0 * s.max(f64::MIN_POSITIVE));
                        *g = (slope * slope_of_root) as f32;
                    }
                }
                // The softmax is over all, or over the chosen, whose scores are the only ones above zero.
                Scoring::Softmax | Scoring::SoftmaxOfChosen => {
                    let along: f64 = slopes.iter().zip(&scores).map(|(slope, s)| slope * s).sum();
                    for ((g, slope), s) in logits.iter_mut().zip(&slopes).zip(&scores) {
                        *g = (s * (slope - along)) as f32;
                    }
                }
            }
        }
        let back = self.linear(&layer.router, x, &logits)?;
        out.add(&back);
        self.run.scratch.give(logits);
        Ok(())
    }

    /// Adds what comes back through the shared expert.
    fn shared(&mut self, layer: &Mixture, x: &Matrix, leaving: &Matrix, out: &mut Matrix) -> Result<()> {
        let Some(shared) = &layer.shared else {
            return Ok(());
        };
        let Some(gate) = &shared.gate else {
            out.add(&self.feed_forward(&shared.layer, x, leaving)?);
            return Ok(());
        };
        if gate.matrix.outputs != 1 {
            return Err(unknown("gates of a shared expert"));
        }
        let made = shared.layer.forward(&mut self.run, x)?;
        let mut gates = gate.forward_range(&mut self.run, x, 0..1)?;
        let mut at_made = leaving.clone();
        for ((row, made), gate) in at_made
            .data
            .chunks_exact_mut(x.cols)
            .zip(made.data.chunks_exact(x.cols))
            .zip(&mut gates.data)
        {
            let value = sigmoid(*gate);
            let slope: f64 = row
                .iter()
                .zip(made)
                .map(|(g, y)| f64::from(*g) * f64::from(*y))
                .sum();
            row.iter_mut().for_each(|g| *g *= value);
            *gate = slope as f32 * value * (1.0 - value);
        }
        out.add(&self.feed_forward(&shared.layer, x, &at_made)?);
        out.add(&self.linear(gate, x, &gates)?);
        Ok(())
    }
}

/// Scores of all experts from the router's outputs.
fn scores(layer: &Mixture, logits: &[f32], ways: &[Way]) -> Vec<f64> {
    let softmax = |of: &dyn Fn(usize) -> bool| -> Vec<f64> {
        let chosen = || (0..logits.len()).filter(|&e| of(e));
        let max = chosen()
            .map(|e| f64::from(logits[e]))
            .fold(f64::NEG_INFINITY, f64::max);
        let mut p = vec![0.0; logits.len()];
        chosen().for_each(|e| p[e] = (f64::from(logits[e]) - max).exp());
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= sum);
        p
    };
    match layer.scoring {
        Scoring::Sigmoid => logits
            .iter()
            .map(|&x| 1.0 / (1.0 + f64::from(-x).exp()))
            .collect(),
        Scoring::RootOfSoftplus => {
            let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
            logits.iter().map(|&x| softplus(f64::from(x)).sqrt()).collect()
        }
        Scoring::Softmax => softmax(&|_| true),
        Scoring::SoftmaxOfChosen => softmax(&|e| ways.iter().any(|way| way.expert == e)),
    }
}
