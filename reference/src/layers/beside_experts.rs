//! A dense layer and experts side by side, each between norms of its own (Gemma 4).

use crate::Result;
use crate::ops::{Matrix, Norm};
use crate::run::Run;

use super::{FeedForward, Mixture};

/// `norm_d(dense(norm(x))) + norm_e(experts(norm(x)))`, where the router sees `x` through a norm of its own.
#[derive(Clone, Debug)]
pub(crate) struct BesideExperts {
    pub(crate) dense_norm: Norm,
    pub(crate) dense: FeedForward,
    pub(crate) dense_post_norm: Norm,
    pub(crate) router_norm: Norm,
    pub(crate) experts_norm: Norm,
    pub(crate) experts: Mixture,
    pub(crate) experts_post_norm: Norm,
}

impl BesideExperts {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let mut normed = run.scratch.take(x.rows, x.cols);
        let through = |norm: &Norm, normed: &mut Matrix| {
            normed.copy_from(x);
            norm.apply(normed);
        };
        through(&self.dense_norm, &mut normed);
        let mut out = self.dense.forward(run, &normed)?;
        self.dense_post_norm.apply(&mut out);
        through(&self.router_norm, &mut normed);
        let routed = self.experts.route(run, &normed)?;
        through(&self.experts_norm, &mut normed);
        let mut sum = self.experts.chosen(run, &normed, &routed)?;
        self.experts_post_norm.apply(&mut sum);
        out.add(&sum);
        run.scratch.give(normed);
        run.scratch.give(sum);
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        self.dense.width().max(self.experts.width()) + 2 * self.dense.down.matrix.outputs
    }
}
