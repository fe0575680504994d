//! Cutting of a text into windows, and the tokens of each that are scored.

use std::ops::Range;

use super::PerplexityOptions;
use crate::{Error, Result};

/// A text's tokens as windows.
pub(crate) struct Windows<'a> {
    tokens: &'a [u32],
    context: usize,
    bos: Option<u32>,
    /// Windows to run.
    pub(crate) count: usize,
}

impl<'a> Windows<'a> {
    /// Cuts `tokens` by `options`; refuses a context without scored tokens, and a text shorter than two
    /// windows.
    pub(crate) fn new(tokens: &'a [u32], options: &PerplexityOptions) -> Result<Self> {
        let too_short = tokens.len() / 2 < options.context;
        if too_short && options.context > 2 {
            return Err(Error::Text(format!(
                "the text has {} tokens, expected at least {}: two windows of {}",
                tokens.len(),
                options.context.saturating_mul(2),
                options.context
            )));
        }
        Self::whole(tokens, options)
    }

    /// [`Self::new`] for tokens that were cut into windows before: one is enough.
    pub(crate) fn whole(tokens: &'a [u32], options: &PerplexityOptions) -> Result<Self> {
        let context = options.context;
        let windows = Self {
            tokens,
            context,
            bos: options.bos,
            count: 0,
        };
        if windows.scored() == 0 {
            return Err(Error::Text(format!(
                "a context of {context} tokens leaves none to score, expected at least 3"
            )));
        }
        let available = tokens.len() / context;
        let count = options.chunks.map_or(available, |n| n.min(available));
        if count == 0 {
            return Err(Error::Text("0 windows to run, expected at least 1".into()));
        }
        Ok(Self { count, ..windows })
    }

    /// The first of the scored positions: it predicts the token after the middle.
    pub(crate) fn first(&self) -> usize {
        self.context / 2
    }

    /// Scored positions of a window.
    pub(crate) fn scored(&self) -> usize {
        self.context.saturating_sub(self.first() + 1)
    }

    /// The tokens of some windows, each with its first token replaced where there is a `bos`.
    pub(crate) fn batch(&self, range: Range<usize>) -> Vec<Vec<u32>> {
        self.tokens[range.start * self.context..range.end * self.context]
            .chunks_exact(self.context)
            .map(|window| {
                let mut window = window.to_vec();
                window[0] = self.bos.unwrap_or(window[0]);
                window
            })
            .collect()
    }
}
