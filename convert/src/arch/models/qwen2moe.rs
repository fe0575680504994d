//! The mixture-of-experts models of Qwen2 and Qwen3.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{self, EXPERTS, STACKED_EXPERTS};
use crate::arch::rules::names::{DECODER, HEAD_NORMS, Rule, copy};
use crate::arch::{Architecture, Default, Graph, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static QWEN2MOE: Architecture = Architecture {
    gguf: "qwen2moe",
    classes: &[class("Qwen2MoeForCausalLM")],
    rules: &[DECODER, HEAD_NORMS, EXPERTS, STACKED_EXPERTS, SHARED_EXPERT],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]),
    model_types: &[&QWEN2MOE_TYPE],
    graph: Graph::SILU.fixing(experts::WEIGHTS_AS_THEY_ARE),
    ..PLAIN
};

pub(super) static QWEN3MOE: Architecture = Architecture {
    gguf: "qwen3moe",
    classes: &[class("Qwen3MoeForCausalLM")],
    rules: &[DECODER, HEAD_NORMS, EXPERTS, STACKED_EXPERTS, SHARED_EXPERT],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]),
    model_types: &[&QWEN3MOE_TYPE],
    graph: Graph::SILU.fixing(experts::WEIGHTS_ADD_UP),
    ..PLAIN
};

/// Shared experts, which every token goes through beside its own, and their gate.
pub(super) const SHARED_EXPERT: &[Rule] = &[
    copy(
        "model.layers.{}.mlp.shared_expert_gate",
        "blk.{}.ffn_gate_inp_shexp",
    ),
    copy(
        "model.layers.{}.mlp.shared_expert.gate_proj",
        "blk.{}.ffn_gate_shexp",
    ),
    copy("model.layers.{}.mlp.shared_expert.up_proj", "blk.{}.ffn_up_shexp"),
    copy(
        "model.layers.{}.mlp.shared_expert.down_proj",
        "blk.{}.ffn_down_shexp",
    ),
];

pub(super) fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set_some(
        "expert_feed_forward_length",
        hp.opt_u32(&["moe_intermediate_size"])?,
    );
    keys.set_some(
        "expert_shared_feed_forward_length",
        hp.opt_u32(&["shared_expert_intermediate_size"])?,
    );
    Ok(())
}

pub(super) static QWEN2MOE_TYPE: ModelType = ModelType {
    name: "qwen2_moe",
    defaults: &[
        ("vocab_size", Default::Int(151936)),
        ("hidden_size", Default::Int(2048)),
        ("intermediate_size", Default::Int(5632)),
        ("num_hidden_layers", Default::Int(24)),
        ("num_attention_heads", Default::Int(16)),
        ("num_key_value_heads", Default::Int(16)),
        ("max_position_embeddings", Default::Int(32768)),
        ("rms_norm_eps", Default::Float(1e-6)),
        ("moe_intermediate_size", Default::Int(1408)),
        ("shared_expert_intermediate_size", Default::Int(5632)),
        ("num_experts_per_tok", Default::Int(4)),
        ("num_experts", Default::Int(60)),
    ],
    ..ModelType::BLANK
};

pub(super) static QWEN3MOE_TYPE: ModelType = ModelType {
    name: "qwen3_moe",
    defaults: &[
        ("vocab_size", Default::Int(151936)),
        ("hidden_size", Default::Int(2048)),
        ("intermediate_size", Default::Int(6144)),
        ("num_hidden_layers", Default::Int(24)),
        ("num_attention_heads", Default::Int(32)),
        ("num_key_value_heads", Default::Int(4)),
        ("max_position_embeddings", Default::Int(32768)),
        ("rms_norm_eps", Default::Float(1e-6)),
        ("moe_intermediate_size", Default::Int(768)),
        ("num_experts_per_tok", Default::Int(8)),
        ("num_local_experts", Default::Int(128)),
    ],
    renames: &[("num_experts", "num_local_experts")],
    ..ModelType::BLANK
};
