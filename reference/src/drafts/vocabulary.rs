//! Tokens of a draft: embeddings and an output matrix of its own, or those of its target, and predictions of all tokens of
//! the target or of some.

use std::ops::Range;

use crate::Result;
use crate::layers::{Embedding, Input, Linear};
use crate::model::{Logits, Model};
use crate::ops::Matrix;
use crate::run::Run;
use crate::weights::Loader;

/// The table of the target's tokens that a draft's head predicts.
const IDS: &str = "d2t";

#[derive(Debug)]
pub(super) struct Vocabulary {
    /// `None`: the target's.
    embedding: Option<Embedding>,
    /// `None`: the target's.
    head: Option<Linear>,
    /// Tokens that the head predicts, in its order; `None`: all, each in its place.
    ids: Option<Vec<usize>>,
    /// Numbers of a state.
    hidden: usize,
}

/// The output matrix of a draft that has none under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// The target's.
    OwnOrTargets,
    /// The draft's embeddings; the target's where it has none.
    OwnOrTied,
}

impl Vocabulary {
    /// Tokens that a draft's head predicts.
    pub(super) fn predicted(loader: &Loader<'_>) -> usize {
        let own = loader.info(IDS).map(|info| usize::try_from(info.row_len()));
        own.map_or_else(|| loader.tokens(), |count| count.unwrap_or(usize::MAX))
    }

    pub(super) fn build(loader: &Loader<'_>, hidden: usize, head: Head) -> Result<Self> {
        let ids = ids(loader)?;
        let embedding = match loader.has("token_embd.weight") {
            true => Some(loader.embedding(hidden)?),
            false => None,
        };
        let predicted = Self::predicted(loader);
        let head = match (loader.has("output.weight"), head, &embedding) {
            (true, ..) => Some(loader.linear("output", hidden, predicted)?),
            (false, Head::OwnOrTied, Some(_)) => {
                Some(loader.plain_linear("token_embd", hidden, predicted)?)
            }
            (false, ..) => None,
        };
        Ok(Self {
            embedding,
            head,
            ids,
            hidden,
        })
    }

    /// Checks that what the draft takes from its target goes with it. An error is what is expected of another target.
    pub(super) fn check(&self, target: &Model) -> std::result::Result<(), String> {
        let (decoder, tokens) = (target.decoder(), target.vocabulary());
        let expect = |what: &str, expected: usize, found: usize| match expected == found {
            true => Ok(()),
            false => Err(format!(
                "{what}: expected {expected} in the target, found {found}"
            )),
        };
        match &self.embedding {
            None => expect(
                "embeddings for the draft",
                self.hidden,
                decoder.embedding.matrix.inputs,
            )?,
            Some(own) if own.matrix.outputs < tokens => {
                return Err(format!(
                    "at most the draft's {} tokens, found {tokens}",
                    own.matrix.outputs
                ));
            }
            Some(_) => {}
        }
        match &self.head {
            None if self.ids.is_some() => {
                return Err(format!(
                    "tensor 'output.weight': expected one for the tokens of '{IDS}', found none"
                ));
            }
            None => expect(
                "an output matrix for the draft",
                self.hidden,
                decoder.head.matrix.inputs,
            )?,
            Some(head) if self.ids.is_none() => expect("a vocabulary", head.matrix.outputs, tokens)?,
            Some(_) => {}
        }
        match self.ids.iter().flatten().find(|&&id| id >= tokens) {
            Some(id) => Err(format!("the token {id} of '{IDS}', found {tokens} tokens")),
            None => Ok(()),
        }
    }

    /// Logits that the output matrix makes, be it the draft's or the target's.
    pub(super) fn logits_of(&self, target: &Model) -> usize {
        let own = self.head.as_ref().map(|head| head.matrix.outputs);
        own.unwrap_or_else(|| target.vocabulary())
    }

    /// Embeddings of the tokens of `run`, a run of the draft over `sequences`.
    pub(super) fn embed(
        &self,
        run: &mut Run<'_>,
        target: &Model,
        sequences: &[(&[u32], Range<usize>)],
    ) -> Result<Matrix> {
        match &self.embedding {
            Some(own) => own.forward(run),
            None => {
                let mut run = target.begin(sequences, None)?;
                target.decoder().embedding.forward(&mut run)
            }
        }
    }

    /// Logits of all tokens of the target, with more added to those of the draft. Those of tokens that the draft lacks are
    /// infinitely low.
    pub(super) fn logits(
        &self,
        run: &mut Run<'_>,
        target: &Model,
        x: &Matrix,
        more: Option<&Matrix>,
    ) -> Result<Logits> {
        let tokens = target.vocabulary();
        let mut made = match &self.head {
            Some(own) => own.forward(run, x)?,
            None => {
                let mut run = target.begin(&[], None)?;
                let head = &target.decoder().head;
                head.range_of_input(&mut run, &mut Input::new(x), 0..tokens)?
            }
        };
        if let Some(more) = more {
            made.add(more);
        }
        let data = match &self.ids {
            None => made.data,
            Some(ids) => {
                let mut data = vec![f32::NEG_INFINITY; made.rows * tokens];
                let rows = data.chunks_exact_mut(tokens.max(1));
                for (row, made) in rows.zip(made.data.chunks_exact(made.cols.max(1))) {
                    ids.iter().zip(made).for_each(|(&id, &logit)| row[id] = logit);
                }
                data
            }
        };
        Ok(Logits {
            rows: made.rows,
            vocabulary: tokens,
            data,
        })
    }
}

/// The target's tokens that a draft's head predicts, where it predicts some alone.
fn ids(loader: &Loader<'_>) -> Result<Option<Vec<usize>>> {
    let Some(info) = loader.info(IDS) else {
        return Ok(None);
    };
    let count = usize::try_from(info.row_len()).unwrap_or(usize::MAX);
    let numbers = loader.numbers(IDS, &[count])?;
    let whole = |x: &f32| *x >= 0.0 && x.fract() == 0.0;
    match numbers.iter().find(|x| !whole(x)) {
        Some(other) => Err(loader.error(format!("tensor '{IDS}': expected ids of tokens, found {other}"))),
        None => Ok(Some(numbers.iter().map(|&x| x as usize).collect())),
    }
}
