//! The outputs of models from their final states: predictions of tokens, or others.

use std::ops::Range;

use super::Decoder;
use crate::Result;
use crate::layers::Input;
use crate::ops::Matrix;
use crate::run::Run;

/// The output that a model makes from its final states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Makes {
    /// Predictions of tokens, by the output matrix.
    Predictions,
    /// Nothing: embeddings are made of the states themselves.
    Embeddings,
    /// A row of a spectrum for each code of sound, by the output matrix.
    Sound,
}

/// Architectures whose graphs in llama.cpp have no logits, and what they make. Some of their files have an output matrix,
/// which was trained for other ends than to predict the next token.
const OTHERS: [(&str, Makes); 10] = [
    ("bert", Makes::Embeddings),
    ("eurobert", Makes::Embeddings),
    ("gemma-embedding", Makes::Embeddings),
    ("jina-bert-v2", Makes::Embeddings),
    ("llama-embed", Makes::Embeddings),
    ("modern-bert", Makes::Embeddings),
    ("neo-bert", Makes::Embeddings),
    ("nomic-bert", Makes::Embeddings),
    ("t5encoder", Makes::Embeddings),
    ("wavtokenizer-dec", Makes::Sound),
];

impl Makes {
    /// The output of models of an architecture.
    pub(super) fn of(architecture: &str) -> Self {
        let other = OTHERS.iter().find(|(name, _)| *name == architecture);
        other.map_or(Self::Predictions, |(_, makes)| *makes)
    }
}

/// Whether models of an architecture predict tokens, so that perplexity and KL divergence can be measured of them: not if the
/// forward pass does not know it, and not of encoders of texts and decoders of sound.
pub fn predicts(architecture: &str) -> bool {
    super::knows(architecture) && Makes::of(architecture) == Makes::Predictions
}

impl Decoder {
    /// Token that the output matrix's first row is of. Those before it are never predicted.
    pub(crate) fn first_predicted(&self) -> usize {
        self.embedding
            .matrix
            .outputs
            .saturating_sub(self.head.matrix.outputs)
    }

    /// Logits of a range of the vocabulary, a row for each row of final states.
    pub(crate) fn logits(
        &self,
        run: &mut Run<'_>,
        states: &mut Input<'_>,
        tokens: Range<usize>,
    ) -> Result<Matrix> {
        let first = self.first_predicted();
        let mut logits = match tokens.start < first {
            false => {
                let rows = tokens.start - first..tokens.end - first;
                self.head.range_of_input(run, states, rows)?
            }
            true => {
                let rows = 0..tokens.end.saturating_sub(first);
                let mut logits = run.scratch.take(states.rows(), tokens.len());
                if !rows.is_empty() {
                    let unpredicted = first - tokens.start;
                    let made = self.head.range_of_input(run, states, rows.clone())?;
                    let pairs = logits.data.chunks_exact_mut(tokens.len());
                    for (row, made) in pairs.zip(made.data.chunks_exact(rows.len())) {
                        row[unpredicted..].copy_from_slice(made);
                    }
                    run.scratch.give(made);
                }
                logits
            }
        };
        self.finish_logits(&mut logits.data, tokens);
        Ok(logits)
    }
}
