//! Perplexity as llama.cpp's perplexity tool defines it.
//!
//! The tokens are cut into windows of `context`. Each window is run from its own beginning, its first token
//! replaced by the beginning-of-sequence token where the tokenizer adds one. The tokens after the window's
//! middle are scored, each given all before it: those at `context / 2 + 1` up to the last.
//!
//! A model with an encoder and a decoder (T5) scores the same tokens by teacher forcing: its encoder reads those before them
//! and the end of a text, where the tokenizer puts one behind texts, and its decoder begins with its own first token and is
//! given them. llama.cpp's tool does not run such models.

mod scores;
mod softmax;
mod windows;

use crate::{Model, Result};
pub(crate) use scores::Scores;
pub(crate) use softmax::Softmax;
pub(crate) use windows::Windows;

/// Scored tokens of a window of `context` tokens: those after the one behind its middle.
pub fn scored_tokens(context: usize) -> usize {
    context.saturating_sub(context / 2 + 1)
}

/// Tokens that are run together at most. More would decode weights less often, which is a few percent of
/// the work by then.
const BATCH_TOKENS: usize = 4096;

/// Options for measuring perplexity.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PerplexityOptions {
    /// Tokens in a window; 512 by default.
    pub context: usize,
    /// Windows to run at most; all when `None`, the default.
    pub chunks: Option<usize>,
    /// Replacement of each window's first token: the tokenizer's beginning-of-sequence token where it adds one. By default
    /// none is replaced.
    pub bos: Option<u32>,
    /// Bytes of memory to stay under; 1 GiB by default.
    pub max_memory: u64,
}

gguf::setters! {
    PerplexityOptions {
        context: usize,
        chunks: Option<usize>,
        bos: Option<u32>,
        max_memory: u64,
    }
}

impl Default for PerplexityOptions {
    fn default() -> Self {
        Self {
            context: 512,
            chunks: None,
            bos: None,
            max_memory: 1 << 30,
        }
    }
}

impl PerplexityOptions {
    /// Checks that a text gives windows to score, before anything is run.
    ///
    /// # Errors
    /// [`crate::Error::Text`].
    pub fn check(&self, tokens: &[u32]) -> Result<()> {
        Windows::new(tokens, self).map(|_| ())
    }
}

/// One window's result.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChunkResult {
    /// Number of the window, from 0.
    pub index: usize,
    /// Windows that will be run in all.
    pub of: usize,
    /// Negative log probability (nats) of each scored token.
    pub nll: Vec<f64>,
    /// Perplexity over all windows so far.
    pub ppl: f64,
}

/// Perplexity of a text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PerplexityReport {
    /// Tokens in a window.
    pub context: usize,
    /// Tokens of the whole text.
    pub text_tokens: usize,
    /// Scored tokens.
    pub scored: usize,
    /// Mean negative log probability of the scored tokens, in nats.
    pub nll: f64,
    /// e^nll.
    pub ppl: f64,
    /// Standard error of `ppl`; `None` when one scored token leaves it undefined.
    pub ppl_error: Option<f64>,
    /// Perplexity over the windows up to each one.
    pub running: Vec<f64>,
}

/// Number of windows of `context` tokens that `model` runs together within `max_memory` bytes.
///
/// # Errors
/// When not even one window fits.
pub(crate) fn windows_at_once(model: &Model, context: usize, max_memory: u64) -> Result<usize> {
    let one = model.bytes_per_token().saturating_mul(context as u64);
    let needed = model.bytes_per_run().saturating_add(one);
    if needed > max_memory {
        return Err(model.error(format!(
            "expected at least {needed} bytes of memory for one window of {context} tokens, found a bound of \
             {max_memory}"
        )));
    }
    let fit = (max_memory - model.bytes_per_run()) / one.max(1);
    Ok(usize::try_from(fit)
        .unwrap_or(usize::MAX)
        .clamp(1, (BATCH_TOKENS / context).max(1)))
}

/// Measures the perplexity of a text's token ids (with its beginning-of-sequence token, as the tokenizer
/// makes them). `progress` is called after each window.
///
/// # Errors
/// When the window is too short to score anything, the text has fewer tokens than two windows, a token is
/// outside the vocabulary, logits are not finite, or weights cannot be read.
pub fn perplexity(
    model: &Model,
    tokens: &[u32],
    options: &PerplexityOptions,
    progress: &mut dyn FnMut(&ChunkResult),
) -> Result<PerplexityReport> {
    measure(model, tokens, options, &Windows::new(tokens, options)?, progress)
}

/// Measures the perplexity of a text with windows that overlap: each begins `stride` tokens after the one before, and the
/// last `stride` of its tokens are scored, given all before them, as llama-perplexity's `--ppl-stride` does. A window has
/// half of the stride more tokens than [`PerplexityOptions::context`], and no token of it is replaced.
///
/// # Errors
/// As [`perplexity`], and when the stride is 0 or not shorter than the window.
pub fn perplexity_strided(
    model: &Model,
    tokens: &[u32],
    options: &PerplexityOptions,
    stride: usize,
    progress: &mut dyn FnMut(&ChunkResult),
) -> Result<PerplexityReport> {
    let windows = Windows::strided(tokens, options, stride)?;
    measure(model, tokens, options, &windows, progress)
}

fn measure(
    model: &Model,
    tokens: &[u32],
    options: &PerplexityOptions,
    split: &Windows<'_>,
    progress: &mut dyn FnMut(&ChunkResult),
) -> Result<PerplexityReport> {
    let context = split.context();
    let (first, per_window, chunks) = (split.first(), split.scored(), split.count);
    model.expect_predictions()?;
    model.expect_predicting(first, context)?;
    let at_once = windows_at_once(model, context, options.max_memory)?;

    let (mut sum, mut sum_of_squares, mut scored) = (0.0, 0.0, 0usize);
    let mut running = Vec::new();
    while running.len() < chunks {
        let batch = running.len()..chunks.min(running.len() + at_once);
        let windows = split.batch(batch.clone());
        let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        let targets: Vec<u32> = windows
            .iter()
            .flat_map(|w| w[first + 1..].iter().copied())
            .collect();
        model.expect_predicted(targets.iter().copied())?;
        let mut scores = Scores::new(targets);
        model.forward_tiles(&views, first..context - 1, None, &mut scores)?;
        let nll = scores.negative_log_probabilities();
        for (offset, nll) in nll.chunks_exact(per_window).enumerate() {
            let index = batch.start + offset;
            if let Some(position) = nll.iter().position(|v| !v.is_finite()) {
                return Err(model.error(format!(
                    "window {index}: expected finite predictions, found another of token {}",
                    index * split.step() + first + 1 + position
                )));
            }
            sum += nll.iter().sum::<f64>();
            sum_of_squares += nll.iter().map(|v| v * v).sum::<f64>();
            scored += nll.len();
            let ppl = (sum / scored as f64).exp();
            running.push(ppl);
            progress(&ChunkResult {
                index,
                of: chunks,
                nll: nll.to_vec(),
                ppl,
            });
        }
    }
    let nll = sum / scored as f64;
    let variance = sum_of_squares / scored as f64 - nll * nll;
    let error = (scored > 1).then(|| (variance.max(0.0) / (scored - 1) as f64).sqrt());
    Ok(PerplexityReport {
        context,
        text_tokens: tokens.len(),
        scored,
        nll,
        ppl: nll.exp(),
        ppl_error: error.map(|e| e * nll.exp()),
        running,
    })
}
