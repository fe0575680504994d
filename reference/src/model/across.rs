//! The layers of a decoder that sees what an encoder made.

use super::decoder::Layer;
use super::sides::Across;
use crate::Result;
use crate::ops::Matrix;
use crate::run::{Run, keep_wanted, normalized};

impl Layer {
    /// `x += attention(norm(x)); x += across(norm(x)); x += mlp(norm(x))`.
    pub(super) fn through_across(
        &self,
        run: &mut Run<'_>,
        across: &Across,
        x: &mut Matrix,
        last: bool,
    ) -> Result<()> {
        if let Some(norm) = &across.turns {
            norm.apply(x);
            *x = run.turn(std::mem::take(x));
        }
        let seen = normalized(run, self.attention_norm.as_ref(), x);
        let made = self.attention.forward(run, &seen)?;
        run.scratch.give(seen);
        x.add(&made);
        run.scratch.give(made);
        let seen = normalized(run, Some(&across.norm), x);
        let made = across.attention.forward(run, &seen)?;
        run.scratch.give(seen);
        x.add(&made);
        run.scratch.give(made);
        if last && run.wanted.len() < x.rows {
            keep_wanted(run, [&mut *x]);
        }
        let seen = normalized(run, self.mlp_norm.as_ref(), x);
        let made = self.mlp.forward(run, &seen)?;
        run.scratch.give(seen);
        x.add(&made);
        run.scratch.give(made);
        Ok(())
    }
}
