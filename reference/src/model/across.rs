//! The layers of a decoder that sees what an encoder made.

use super::decoder::{Layer, add_part};
use super::sides::Across;
use crate::Result;
use crate::ops::Matrix;
use crate::run::{Run, keep_wanted};

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
        add_part(run, self.attention_norm.as_ref(), x, |run, input| {
            self.attention.forward(run, input)
        })?;
        add_part(run, Some(&across.norm), x, |run, input| {
            across.attention.forward(run, input)
        })?;
        if last && run.wanted.len() < x.rows {
            keep_wanted(run, [&mut *x]);
        }
        add_part(run, self.mlp_norm.as_ref(), x, |run, input| {
            self.mlp.forward(run, input)
        })
    }
}
