//! openPangu Embedded and Maincoder.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::hooks::without_tied_output;
use crate::arch::rules::names::{DECODER, HEAD_NORMS};
use crate::arch::{Architecture, Hooks, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static PANGU_EMBEDDED: Architecture = Architecture {
    gguf: "pangu-embedded",
    classes: &[class("PanguEmbeddedForCausalLM")],
    hyperparameters: pangu_keys,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece]).and([VocabStep::ConfiguredSpacePrefix]),
    hooks: Hooks {
        canonical: without_tied_output,
        ..Hooks::NONE
    },
    ..PLAIN
};

pub(super) static MAINCODER: Architecture = Architecture {
    gguf: "maincoder",
    classes: &[class("MaincoderForCausalLM")],
    rules: &[HEAD_NORMS, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set_some("rope.dimension_count", hp.opt_u32(&["head_dim"])?);
        Ok(())
    },
    ..PLAIN
};

fn pangu_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    let dim = hp.head_dim()?;
    keys.set("rope.dimension_count", dim);
    keys.set("attention.key_length", dim);
    keys.set("attention.value_length", dim);
    Ok(())
}
