//! Adapters inside a model, which some tokens turn on for all that follow them (Granite Switch).

use std::collections::HashMap;

use crate::Result;
use crate::ops::Matrix;
use crate::run::Run;

use super::ExpertLinear;

/// The tokens that turn adapters on.
#[derive(Clone, Debug)]
pub(crate) struct Switch {
    /// For each such token the adapter, from 1 on, and the token whose embedding stands in for its own.
    pub(crate) tokens: HashMap<u32, (usize, u32)>,
    /// Adapters, without the one of zeros.
    pub(crate) count: usize,
    /// Score of a token that turns one on, in the softmax that finds it; the others have its negative.
    pub(crate) gain: f32,
}

impl Switch {
    /// Leaves each row's adapter in `run`, and the tokens that stand in for others. The adapter of a row is the mean of
    /// those of all tokens that it sees, by a softmax of their gains, rounded: a row before any has none.
    pub(crate) fn choose(&self, run: &mut Run<'_>) {
        let gain = f64::from(self.gain);
        let (on, off) = (gain.exp(), (-gain).exp());
        let mut chosen = vec![0; run.tokens.len()];
        for window in &run.windows {
            let (mut sum, mut weights) = (0.0, 0.0);
            for row in window.clone() {
                match self.tokens.get(&run.tokens[row]) {
                    Some(&(adapter, _)) => {
                        sum += on * adapter as f64;
                        weights += on;
                    }
                    None => weights += off,
                }
                let mean = (sum / weights).round();
                chosen[row] = (mean as usize).min(self.count);
            }
        }
        for token in &mut run.tokens {
            if let Some(&(_, other)) = self.tokens.get(token) {
                *token = other;
            }
        }
        run.adapters = chosen;
    }
}

/// The adapters of one weight: for each a matrix down and one up, the first of zeros.
#[derive(Clone, Debug)]
pub(crate) struct Adapters {
    pub(crate) down: ExpertLinear,
    pub(crate) up: ExpertLinear,
    /// The first output that they add to.
    pub(crate) first: usize,
}

impl Adapters {
    /// Adds to each row of `out` what its adapter makes of that row of `x`.
    pub(crate) fn add_to(&self, run: &mut Run<'_>, x: &Matrix, out: &mut Matrix) -> Result<()> {
        let last = run.adapters.iter().copied().max().unwrap_or(0);
        for adapter in 1..=last {
            let rows: Vec<usize> = (0..x.rows)
                .filter(|&row| run.adapters.get(row) == Some(&adapter))
                .collect();
            if rows.is_empty() {
                continue;
            }
            let mut input = run.scratch.take(rows.len(), x.cols);
            for (to, &row) in input.data.chunks_exact_mut(x.cols).zip(&rows) {
                to.copy_from_slice(&x.data[row * x.cols..][..x.cols]);
            }
            let narrow = self.down.forward(run, adapter, &input)?;
            let made = self.up.forward(run, adapter, &narrow)?;
            for (from, &row) in made.data.chunks_exact(made.cols).zip(&rows) {
                let to = &mut out.data[row * out.cols + self.first..][..made.cols];
                to.iter_mut().zip(from).for_each(|(y, x)| *y += x);
            }
            for matrix in [input, narrow, made] {
                run.scratch.give(matrix);
            }
        }
        Ok(())
    }
}
