//! Cutting of a text into windows, and the tokens of each that are scored.

use std::ops::Range;

use super::PerplexityOptions;
use crate::{Error, Result};

/// A text's tokens as windows.
pub(crate) struct Windows<'a> {
    tokens: &'a [u32],
    context: usize,
    /// Tokens from the beginning of a window to that of the next.
    step: usize,
    /// The first of the scored positions.
    first: usize,
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
                "the text: expected at least {} tokens, two windows of {}, found {}",
                options.context.saturating_mul(2),
                options.context,
                tokens.len()
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
            step: context,
            first: context / 2,
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

    /// Windows that begin `stride` tokens after each other, each half of that longer than the context, with the last
    /// `stride` of its tokens scored: llama-perplexity's `--ppl-stride`. No token is replaced, since that tool decodes a
    /// window before it puts the beginning-of-sequence token in its place.
    pub(crate) fn strided(tokens: &'a [u32], options: &PerplexityOptions, stride: usize) -> Result<Self> {
        let context = options.context.saturating_add(stride / 2);
        if stride == 0 || stride >= context {
            return Err(Error::Text(format!(
                "the stride: expected at least 1 token, and fewer than the window's {context}, found {stride}"
            )));
        }
        if tokens.len() < context.saturating_mul(2) {
            return Err(Error::Text(format!(
                "the text: expected at least {} tokens, two windows of {context}, found {}",
                context.saturating_mul(2),
                tokens.len()
            )));
        }
        let available = (tokens.len() - context).div_ceil(stride);
        Ok(Self {
            tokens,
            context,
            step: stride,
            first: context - stride - 1,
            bos: None,
            count: options.chunks.map_or(available, |n| n.min(available)).max(1),
        })
    }

    /// Tokens of a window.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// Tokens from the beginning of a window to that of the next.
    pub(crate) fn step(&self) -> usize {
        self.step
    }

    /// The first of the scored positions: it predicts the token after the middle.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// Scored positions of a window.
    pub(crate) fn scored(&self) -> usize {
        self.context.saturating_sub(self.first + 1)
    }

    /// The tokens of some windows, each with its first token replaced where there is a `bos`.
    pub(crate) fn batch(&self, range: Range<usize>) -> Vec<Vec<u32>> {
        range
            .map(|index| {
                let start = index * self.step;
                let mut window = self.tokens[start..start + self.context].to_vec();
                window[0] = self.bos.unwrap_or(window[0]);
                window
            })
            .collect()
    }
}
