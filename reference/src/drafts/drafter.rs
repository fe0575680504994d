//! Models that draft for a target: a draft on its states, or a smaller model of its own.

use std::ops::Range;
use std::path::Path;

use gguf::{Array, GgufModel, GgufString, Metadata, Value};

use super::{Draft, draft_architectures};
use crate::model::{Logits, Model};
use crate::ops::Rounding;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// How much longer or shorter llama.cpp lets the vocabulary of a smaller model be.
const MOST_TOKENS_APART: usize = 128;
/// The first token whose text llama.cpp compares.
const FIRST_COMPARED: usize = 5;

/// A model that drafts for another.
#[derive(Debug)]
#[non_exhaustive]
pub enum Drafter {
    /// One that goes on from the states of its target.
    Draft(Box<Draft>),
    /// One that runs by itself, and has the tokens of its target.
    Model(Box<Model>),
}

impl Drafter {
    /// Opens a GGUF file (or the first of its shards).
    ///
    /// # Errors
    /// As [`Draft::load`] and [`Model::load`].
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_gguf(GgufModel::open(path)?)
    }

    /// [`Self::load`] of a model that is open already.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_gguf(gguf: GgufModel) -> Result<Self> {
        let architecture = gguf.metadata().architecture();
        match draft_architectures().any(|known| known == architecture) {
            true => Ok(Self::Draft(Box::new(Draft::from_gguf(gguf)?))),
            false => Ok(Self::Model(Box::new(Model::from_gguf(gguf)?))),
        }
    }

    /// The same, rounding more than its weights.
    #[must_use]
    pub fn with_rounding(self, rounding: Rounding) -> Self {
        match self {
            Self::Draft(draft) => Self::Draft(Box::new(draft.with_rounding(rounding))),
            Self::Model(model) => Self::Model(Box::new(model.with_rounding(rounding))),
        }
    }

    /// The file.
    pub fn gguf(&self) -> &GgufModel {
        match self {
            Self::Draft(draft) => draft.gguf(),
            Self::Model(model) => model.gguf(),
        }
    }

    /// Tokens of the longest draft whose acceptance a text tells ([`Draft::longest`]).
    pub fn longest(&self) -> Option<usize> {
        match self {
            Self::Draft(draft) => Some(draft.longest()),
            Self::Model(_) => None,
        }
    }

    /// The first of the file's tokens that is not the target's, as far as llama.cpp compares them: by their texts from the sixth
    /// on, and as those at a text's beginning and end. `None` where they are the same, or the file has none.
    ///
    /// # Errors
    /// Of a vocabulary that cannot be read.
    pub fn other_token(&self, target: &Model) -> Result<Option<String>> {
        let [own, theirs] = [self.gguf(), target.gguf()].map(GgufModel::metadata);
        let (Some(tokens), Some(expected)) = (texts(own), texts(theirs)) else {
            return Ok(None);
        };
        let pairs = tokens.iter().zip(expected).enumerate().skip(FIRST_COMPARED);
        for (id, (found, expected)) in pairs {
            if found != expected {
                let [expected, found] = [expected, found].map(|text| String::from_utf8_lossy(&text.0));
                return Ok(Some(format!(
                    "key 'tokenizer.ggml.tokens': expected the target's token {id}, {expected:?}, found {found:?}"
                )));
            }
        }
        let [own, theirs] = [Tokenizer::from_metadata(own)?, Tokenizer::from_metadata(theirs)?];
        if own.kind() != theirs.kind() {
            return Ok(Some(format!(
                "key 'tokenizer.ggml.model': expected the target's kind of vocabulary, {:?}, found {:?}",
                theirs.kind(),
                own.kind()
            )));
        }
        for (key, expected, found) in [
            (
                "bos",
                added(theirs.add_bos(), theirs.bos()),
                added(own.add_bos(), own.bos()),
            ),
            (
                "eos",
                added(theirs.add_eos(), theirs.eos()),
                added(own.add_eos(), own.eos()),
            ),
        ] {
            if expected != found {
                let [expected, found] = [expected, found]
                    .map(|token| token.map_or_else(|| "none".to_owned(), |id| format!("token {id}")));
                return Ok(Some(format!(
                    "key 'tokenizer.ggml.add_{key}_token': expected {expected} added to texts, as by the target, found {found}"
                )));
            }
        }
        Ok(None)
    }

    /// Checks that it drafts for this target.
    ///
    /// # Errors
    /// The requirement that a target does not meet.
    pub fn expect_target(&self, target: &Model) -> Result<()> {
        let model = match self {
            Self::Draft(draft) => return draft.layers(target).map(|_| ()),
            Self::Model(model) => model,
        };
        model.expect_predictions()?;
        let (own, theirs) = (model.vocabulary(), target.vocabulary());
        if own.abs_diff(theirs) > MOST_TOKENS_APART {
            return Err(model.error(format!(
                "key 'tokenizer.ggml.tokens': expected as many tokens as the target's {theirs}, or up to {MOST_TOKENS_APART} \
                 more or fewer, found {own}"
            )));
        }
        match self.other_token(target)? {
            Some(other) => Err(model.error(other)),
            None => Ok(()),
        }
    }

    /// Logits of the target at `positions` of a window, and what is expected there: `see` is given both for each of `places`
    /// tokens of a draft, of which a later one has rows for fewer positions to begin at. A model's are the same at each place.
    pub(super) fn each_place(
        &self,
        target: &Model,
        window: &[u32],
        positions: Range<usize>,
        places: usize,
        see: &mut dyn FnMut(&Logits, &Logits) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Draft(draft) => {
                let states = target.states_for(draft, &[window])?;
                let of_target = states.logits_of(&positions)?;
                // What the draft expects after a token stands in the row of the token before it.
                let rows = positions.start.saturating_sub(1)..positions.end.saturating_sub(1);
                draft.each_place(&states, rows, places, &mut |made| see(&of_target, &made))
            }
            Self::Model(model) => {
                self.expect_embedded(model, window)?;
                let expected = model.forward(&[window], positions.clone(), None)?;
                see(&target.forward(&[window], positions, None)?, &expected)
            }
        }
    }

    /// Checks that a smaller model has all tokens of a window.
    fn expect_embedded(&self, model: &Model, window: &[u32]) -> Result<()> {
        let tokens = model.vocabulary();
        match window.iter().find(|&&token| token as usize >= tokens) {
            Some(token) => Err(model.error(format!(
                "a text's tokens: expected those of the draft, which has {tokens}, found {token}"
            ))),
            None => Ok(()),
        }
    }

    /// Bytes that a window's pass holds for each token, with the target's.
    pub(super) fn bytes_per_token(&self, target: &Model) -> u64 {
        match self {
            Self::Draft(_) => target.bytes_per_token(),
            Self::Model(model) => target.bytes_per_token().max(model.bytes_per_token()),
        }
    }

    /// Numbers of a row of logits.
    pub(super) fn vocabulary(&self, target: &Model) -> usize {
        match self {
            Self::Draft(_) => target.vocabulary(),
            Self::Model(model) => model.vocabulary(),
        }
    }

    /// Checks that a position of windows of so many tokens has logits.
    pub(super) fn expect_predicting(&self, position: usize, window: usize) -> Result<()> {
        match self {
            Self::Draft(_) => Ok(()),
            Self::Model(model) => model.expect_predicting(position, window),
        }
    }

    pub(super) fn error(&self, message: String) -> Error {
        match self {
            Self::Draft(draft) => draft.error(message),
            Self::Model(model) => model.error(message),
        }
    }
}

impl From<Draft> for Drafter {
    fn from(draft: Draft) -> Self {
        Self::Draft(Box::new(draft))
    }
}

impl From<Model> for Drafter {
    fn from(model: Model) -> Self {
        Self::Model(Box::new(model))
    }
}

/// The texts of a file's tokens.
fn texts(metadata: &Metadata) -> Option<&[GgufString]> {
    match metadata.get("tokenizer.ggml.tokens")? {
        Value::Array(Array::String(tokens)) => Some(tokens),
        _ => None,
    }
}

/// A token where it is added to texts.
fn added(adds: bool, token: Option<u32>) -> Option<u32> {
    token.filter(|_| adds)
}
