//! BitNet b1.58: ternary weights with one scale for each matrix, and norms before the last matrix of each half.

use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, Rule, Transform, copy, rule};
use crate::arch::{Architecture, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static BITNET: Architecture = Architecture {
    gguf: "bitnet",
    classes: &[class("BitnetForCausalLM"), class("BitNetForCausalLM")],
    rules: &[TERNARY, NORMS, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("rope.scaling.type", "linear");
        keys.set("rope.scaling.factor", 1.0f32);
        Ok(())
    },
    // The stock converter knows the first kind alone.
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece, VocabKind::Bpe]),
    model_types: &[&BITNET_TYPE],
    ..PLAIN
};

const TERNARY: &[Rule] = &[
    rule(
        "model.layers.{}.self_attn.q_proj",
        "blk.{}.attn_q",
        Transform::Ternary,
    ),
    rule(
        "model.layers.{}.self_attn.k_proj",
        "blk.{}.attn_k",
        Transform::Ternary,
    ),
    rule(
        "model.layers.{}.self_attn.v_proj",
        "blk.{}.attn_v",
        Transform::Ternary,
    ),
    rule(
        "model.layers.{}.self_attn.o_proj",
        "blk.{}.attn_output",
        Transform::Ternary,
    ),
    rule(
        "model.layers.{}.mlp.gate_proj",
        "blk.{}.ffn_gate",
        Transform::Ternary,
    ),
    rule("model.layers.{}.mlp.up_proj", "blk.{}.ffn_up", Transform::Ternary),
    rule(
        "model.layers.{}.mlp.down_proj",
        "blk.{}.ffn_down",
        Transform::Ternary,
    ),
];

/// Under the names of two publishers, of which the stock converter knows one. The embedding is the output matrix.
const NORMS: &[Rule] = &[
    rule("lm_head", "output", Transform::Skip),
    copy("model.layers.{}.self_attn.inner_attn_ln", "blk.{}.attn_sub_norm"),
    copy("model.layers.{}.self_attn.attn_sub_norm", "blk.{}.attn_sub_norm"),
    copy("model.layers.{}.mlp.ffn_layernorm", "blk.{}.ffn_sub_norm"),
    copy("model.layers.{}.mlp.ffn_sub_norm", "blk.{}.ffn_sub_norm"),
];

static BITNET_TYPE: ModelType = ModelType::of("bitnet");
