//! Qwen (the first).

use crate::arch::rules::common;
use crate::arch::rules::names::{Rule, copy};
use crate::arch::{Architecture, PLAIN, class_without};
use crate::tokenizer::{Tiktoken, VocabKind, VocabRequest};

pub(super) static QWEN: Architecture = Architecture {
    gguf: "qwen",
    classes: &[class_without("QWenLMHeadModel", "transformer.")],
    rules: &[RULES],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        // Its norms are root mean squares, whatever the key is called.
        keys.set(
            "attention.layer_norm_rms_epsilon",
            hp.f32(&["layer_norm_epsilon"])?,
        );
        Ok(())
    },
    vocabulary: |_| VocabRequest::new(&[VocabKind::Tiktoken(Tiktoken::Qwen)]),
    ..PLAIN
};

const RULES: &[Rule] = &[
    copy("wte", "token_embd"),
    copy("h.{}.ln_1", "blk.{}.attn_norm"),
    copy("h.{}.attn.c_attn", "blk.{}.attn_qkv"),
    copy("h.{}.attn.c_proj", "blk.{}.attn_output"),
    copy("h.{}.ln_2", "blk.{}.ffn_norm"),
    copy("h.{}.mlp.w1", "blk.{}.ffn_up"),
    copy("h.{}.mlp.w2", "blk.{}.ffn_gate"),
    copy("h.{}.mlp.c_proj", "blk.{}.ffn_down"),
    copy("ln_f", "output_norm"),
    copy("lm_head", "output"),
];
