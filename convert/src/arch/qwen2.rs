//! Qwen2 and Qwen2.5.

use super::names::{Rule, copy};
use super::{Architecture, Default, Hparams, Keys, ModelType, bare_class, class, common, none_generated};
use crate::Result;
use crate::tokenizer::VocabRequest;

pub(super) static QWEN2: Architecture = Architecture {
    gguf: "qwen2",
    classes: &[
        class("Qwen2ForCausalLM"),
        class("KORMoForCausalLM"),
        bare_class("Qwen2Model"),
    ],
    rules: &[RULES],
    hyperparameters,
    generated: none_generated,
    vocabulary: |_| VocabRequest::qwen2(),
};

const RULES: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    copy("model.norm", "output_norm"),
    copy("lm_head", "output"),
    copy("model.layers.{}.input_layernorm", "blk.{}.attn_norm"),
    copy("model.layers.{}.self_attn.q_proj", "blk.{}.attn_q"),
    copy("model.layers.{}.self_attn.k_proj", "blk.{}.attn_k"),
    copy("model.layers.{}.self_attn.v_proj", "blk.{}.attn_v"),
    copy("model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"),
    copy("model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm"),
    copy("model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"),
    copy("model.layers.{}.mlp.up_proj", "blk.{}.ffn_up"),
    copy("model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"),
];

/// Also Qwen3's: the two differ only in their tensors.
pub(super) fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    common::pooling(hp, keys)
}

pub(super) static QWEN2_TYPE: ModelType = ModelType {
    name: "qwen2",
    defaults: &[
        ("vocab_size", Default::Int(151936)),
        ("hidden_size", Default::Int(4096)),
        ("intermediate_size", Default::Int(22016)),
        ("num_hidden_layers", Default::Int(32)),
        ("num_attention_heads", Default::Int(32)),
        ("num_key_value_heads", Default::Int(32)),
        ("max_position_embeddings", Default::Int(32768)),
        ("rms_norm_eps", Default::Float(1e-6)),
    ],
    renames: &[],
    derives_head_dim: false,
    rope_theta: 10000.0,
};
