//! The mixture-of-experts models of Qwen2 and Qwen3.

use super::names::{Rule, Transform, copy, rule};
use super::{Architecture, Default, Hparams, Keys, ModelType, PLAIN, class, common};
use crate::Result;
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static QWEN2MOE: Architecture = Architecture {
    gguf: "qwen2moe",
    classes: &[class("Qwen2MoeForCausalLM")],
    rules: &[RULES],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]),
    model_types: &[&QWEN2MOE_TYPE],
    ..PLAIN
};

pub(super) static QWEN3MOE: Architecture = Architecture {
    gguf: "qwen3moe",
    classes: &[class("Qwen3MoeForCausalLM")],
    rules: &[RULES],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]),
    model_types: &[&QWEN3MOE_TYPE],
    ..PLAIN
};

const RULES: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    copy("model.norm", "output_norm"),
    copy("lm_head", "output"),
    copy("model.layers.{}.input_layernorm", "blk.{}.attn_norm"),
    copy("model.layers.{}.self_attn.q_proj", "blk.{}.attn_q"),
    copy("model.layers.{}.self_attn.q_norm", "blk.{}.attn_q_norm"),
    copy("model.layers.{}.self_attn.k_proj", "blk.{}.attn_k"),
    copy("model.layers.{}.self_attn.k_norm", "blk.{}.attn_k_norm"),
    copy("model.layers.{}.self_attn.v_proj", "blk.{}.attn_v"),
    copy("model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"),
    copy("model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm"),
    copy("model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"),
    copy("model.layers.{}.mlp.up_proj", "blk.{}.ffn_up"),
    copy("model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"),
    copy("model.layers.{}.mlp.gate", "blk.{}.ffn_gate_inp"),
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
    rule(
        "model.layers.{}.mlp.experts.{e}.down_proj",
        "blk.{}.ffn_down_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.mlp.experts.{e}.gate_proj",
        "blk.{}.ffn_gate_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.mlp.experts.{e}.up_proj",
        "blk.{}.ffn_up_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.mlp.experts.down_proj",
        "blk.{}.ffn_down_exps",
        Transform::Stack,
    ),
    rule(
        "model.layers.{}.mlp.experts.gate_up_proj",
        "blk.{}.ffn_gate_exps",
        Transform::FirstHalf,
    ),
    rule(
        "model.layers.{}.mlp.experts.gate_up_proj",
        "blk.{}.ffn_up_exps",
        Transform::SecondHalf,
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
