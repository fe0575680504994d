//! DFlash 2's choice among the likeliest tokens of a place: to the logit of each comes how well it goes behind the token before
//! it, which the state of the place says. What is not among the likeliest is not proposed.

use crate::layers::{Embedding, Linear};
use crate::model::Logits;
use crate::ops::Matrix;
use crate::weights::Loader;
use crate::{Error, Model};

use super::Own;

#[derive(Debug)]
pub(super) struct Selector {
    /// Tokens that are chosen among.
    count: usize,
    /// Of the token before, and of those that come behind it.
    before: Embedding,
    behind: Embedding,
    /// Of the state: factors on the first of these.
    state: Linear,
    logit_scale: f32,
    softcap: Option<f32>,
}

impl Selector {
    /// `None` where the file has none.
    pub(super) fn read(loader: &Loader<'_>, hidden: usize) -> Result<Option<Self>, Error> {
        if !loader.has("selector_hidden.weight") {
            return Ok(None);
        }
        let keys = &loader.keys;
        let (rank, count) = (keys.count("selector_rank")?, keys.count("selector_top_k")?);
        Ok(Some(Self {
            count,
            before: loader.embedding_of("selector_predecessor.weight", rank)?,
            behind: loader.embedding_of("selector_successor.weight", rank)?,
            state: loader.linear("selector_hidden", hidden, rank)?,
            logit_scale: keys
                .optional_float("logit_scale")?
                .filter(|&scale| scale != 0.0)
                .unwrap_or(1.0),
            softcap: keys
                .optional_float("final_logit_softcapping")?
                .filter(|&cap| cap > 0.0),
        }))
    }

    /// Checks that it knows the target's tokens. An error is what is expected of another target.
    pub(super) fn check(&self, target: &Model) -> Result<(), String> {
        let known = self.before.matrix.outputs.min(self.behind.matrix.outputs);
        let tokens = target.vocabulary();
        match (self.count..=known).contains(&tokens) {
            true => Ok(()),
            false => Err(format!(
                "{} to {known} tokens, those of the draft's selector, found {tokens}",
                self.count
            )),
        }
    }

    /// Leaves in each row of logits those of the likeliest tokens, and adds how well they go behind the tokens `before`.
    pub(super) fn select(
        &self,
        own: Own<'_>,
        before: &[u32],
        states: &Matrix,
        logits: &mut Logits,
    ) -> Result<(), Error> {
        let mut run = own.run(&[(before, 0..usize::MAX)]);
        let mut before = self.before.forward(&mut run)?;
        let gates = self.state.forward(&mut run, states)?;
        before
            .data
            .iter_mut()
            .zip(&gates.data)
            .for_each(|(x, gate)| *x *= gate);
        let rows = logits.data.chunks_exact_mut(logits.vocabulary);
        for (row, before) in rows.zip(before.data.chunks_exact(before.cols)) {
            let chosen = self.likeliest(row);
            let mut run = own.run(&[(&chosen, 0..usize::MAX)]);
            let behind = self.behind.forward(&mut run)?;
            let scores = chosen.iter().zip(behind.data.chunks_exact(behind.cols));
            let scores: Vec<f32> = scores
                .map(|(&token, behind)| {
                    let pairs: f32 = behind.iter().zip(before).map(|(a, b)| a * b).sum();
                    self.shaped(row[token as usize]) + pairs
                })
                .collect();
            row.fill(f32::NEG_INFINITY);
            for (&token, score) in chosen.iter().zip(scores) {
                row[token as usize] = score;
            }
        }
        Ok(())
    }

    /// The tokens with the highest logits, the first of equals.
    fn likeliest(&self, row: &[f32]) -> Vec<u32> {
        let mut tokens: Vec<u32> = (0..).take(row.len()).collect();
        let order = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
        if self.count < tokens.len() {
            tokens.select_nth_unstable_by(self.count, order);
            tokens.truncate(self.count);
        }
        tokens
    }

    /// A logit as the target's would be.
    fn shaped(&self, logit: f32) -> f32 {
        let scaled = logit * self.logit_scale;
        match self.softcap {
            Some(cap) if scaled > f32::NEG_INFINITY => cap * (scaled / cap).tanh(),
            _ => scaled,
        }
    }
}
