//! Qwen3-TTS, the talker: Qwen3 whose output matrix predicts codes of sound, which are the end of its vocabulary.

use super::decoder::Decoder;
use super::dense;
use super::designs::QWEN3;
use crate::Result;
use crate::weights::Loader;

/// Codes that the output matrix predicts, as llama.cpp has it.
pub(crate) const CODES: usize = 3072;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let mut decoder = dense::build_with_head(loader, &QWEN3, |hidden, tokens| {
        match loader.has("output.weight") {
            true => loader.linear("output", hidden, CODES),
            false => loader.head(hidden, tokens),
        }
    })?;
    let (tokens, codes) = (decoder.embedding.matrix.outputs, decoder.head.matrix.outputs);
    if !loader.is_declared() && codes > tokens {
        return Err(loader.error(format!(
            "tensor 'token_embd.weight': expected at least {codes} rows, as output.weight has, found {tokens}"
        )));
    }
    decoder.muted = 0..decoder.first_predicted();
    Ok(decoder)
}
