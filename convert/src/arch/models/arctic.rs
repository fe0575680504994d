//! Snowflake Arctic: dense layers behind attention, and experts that see a layer's input.

use crate::arch::rules::common;
use crate::arch::rules::experts::BLOCK_SPARSE_EXPERTS;
use crate::arch::rules::names::{DECODER, PERMUTED, Rule, copy};
use crate::arch::{Architecture, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static ARCTIC: Architecture = Architecture {
    gguf: "arctic",
    classes: &[class("ArcticForCausalLM")],
    rules: &[OWN, BLOCK_SPARSE_EXPERTS, PERMUTED, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        keys.set("rope.dimension_count", hp.even_head_dim()?);
        Ok(())
    },
    vocabulary: |_| VocabRequest::new(&[VocabKind::Arctic]),
    ..PLAIN
};

const OWN: &[Rule] = &[
    copy("model.layers.{}.residual_layernorm", "blk.{}.ffn_norm"),
    copy("model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm_exps"),
    copy("model.layers.{}.residual_mlp.w1", "blk.{}.ffn_gate"),
    copy("model.layers.{}.residual_mlp.w2", "blk.{}.ffn_down"),
    copy("model.layers.{}.residual_mlp.w3", "blk.{}.ffn_up"),
];
