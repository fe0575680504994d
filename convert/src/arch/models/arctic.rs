//! Snowflake Arctic: dense layers behind attention, and experts that see a layer's input.

use crate::arch::rules::common;
use crate::arch::rules::experts::BLOCK_SPARSE_EXPERTS;
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule};
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
    LAYER.copy("residual_layernorm", "ffn_norm"),
    LAYER.copy("post_attention_layernorm", "ffn_norm_exps"),
    LAYER.copy("residual_mlp.w1", "ffn_gate"),
    LAYER.copy("residual_mlp.w2", "ffn_down"),
    LAYER.copy("residual_mlp.w3", "ffn_up"),
];
