//! Attention over the states of earlier layers (Kimi K3): what a half sees is a mean of the state and of those that were
//! kept on the way, weighted by a softmax of one score for each.

use crate::ops::{Matrix, Norm, softmax};
use crate::run::Run;

/// The scores: products of each state, normalized, with one vector.
#[derive(Clone, Debug)]
pub(crate) struct EarlierStates {
    /// Its weights are the vector.
    pub(crate) norm: Norm,
}

impl EarlierStates {
    /// The mean of `x` and of the states kept in `run`; `x` itself where there are none yet.
    pub(crate) fn mean(&self, run: &mut Run<'_>, x: &Matrix) -> Matrix {
        let mut out = run.scratch.take(x.rows, x.cols);
        if run.streams.is_empty() {
            out.copy_from(x);
            return out;
        }
        let Run { streams, scratch, .. } = run;
        let states = || streams.iter().chain([x]);
        let count = streams.len() + 1;
        let mut weights = scratch.take(x.rows, count);
        let mut normed = scratch.take(x.rows, x.cols);
        for (at, state) in states().enumerate() {
            normed.copy_from(state);
            self.norm.apply(&mut normed);
            let rows = weights.data.chunks_exact_mut(count);
            for (scores, row) in rows.zip(normed.data.chunks_exact(x.cols)) {
                scores[at] = row.iter().sum();
            }
        }
        weights.data.chunks_exact_mut(count).for_each(softmax);
        out.data.fill(0.0);
        for (at, state) in states().enumerate() {
            let rows = out
                .data
                .chunks_exact_mut(x.cols)
                .zip(state.data.chunks_exact(x.cols));
            for ((to, from), weights) in rows.zip(weights.data.chunks_exact(count)) {
                to.iter_mut().zip(from).for_each(|(y, x)| *y += weights[at] * x);
            }
        }
        scratch.give(weights);
        scratch.give(normed);
        out
    }
}
