//! BitNet b1.58: ternary weights with one scale for each matrix, and norms before the last matrix of each half.

use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform, rule};
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
    LAYER.rule("self_attn.q_proj", "attn_q", Transform::Ternary),
    LAYER.rule("self_attn.k_proj", "attn_k", Transform::Ternary),
    LAYER.rule("self_attn.v_proj", "attn_v", Transform::Ternary),
    LAYER.rule("self_attn.o_proj", "attn_output", Transform::Ternary),
    LAYER.rule("mlp.gate_proj", "ffn_gate", Transform::Ternary),
    LAYER.rule("mlp.up_proj", "ffn_up", Transform::Ternary),
    LAYER.rule("mlp.down_proj", "ffn_down", Transform::Ternary),
];

/// Under the names of two publishers, of which the stock converter knows one. The embedding is the output matrix.
const NORMS: &[Rule] = &[
    rule("lm_head", "output", Transform::Skip),
    LAYER.copy("self_attn.inner_attn_ln", "attn_sub_norm"),
    LAYER.copy("self_attn.attn_sub_norm", "attn_sub_norm"),
    LAYER.copy("mlp.ffn_layernorm", "ffn_sub_norm"),
    LAYER.copy("mlp.ffn_sub_norm", "ffn_sub_norm"),
];

static BITNET_TYPE: ModelType = ModelType::of("bitnet");
