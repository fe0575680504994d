//! Llama, Mistral and Mixtral, and the models published under their classes.

use super::names::{Rule, Transform, copy, rule};
use super::{Architecture, Default, Hparams, Keys, ModelType, bare_class, class, common, rope};
use crate::Result;
use crate::tokenizer::VocabRequest;

pub(super) static LLAMA: Architecture = Architecture {
    gguf: "llama",
    classes: &[
        class("LlamaForCausalLM"),
        class("LLaMAForCausalLM"),
        class("MistralForCausalLM"),
        class("MixtralForCausalLM"),
        class("IQuestCoderForCausalLM"),
        bare_class("LlamaModel"),
    ],
    rules: &[RULES],
    hyperparameters,
    generated: rope::llama3_factors,
    vocabulary: VocabRequest::llama,
};

const RULES: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    copy("model.norm", "output_norm"),
    copy("lm_head", "output"),
    copy("model.layers.{}.input_layernorm", "blk.{}.attn_norm"),
    rule(
        "model.layers.{}.self_attn.q_proj",
        "blk.{}.attn_q",
        Transform::PermuteQuery,
    ),
    rule(
        "model.layers.{}.self_attn.k_proj",
        "blk.{}.attn_k",
        Transform::PermuteKey,
    ),
    copy("model.layers.{}.self_attn.v_proj", "blk.{}.attn_v"),
    copy("model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"),
    copy("model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm"),
    copy("model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"),
    copy("model.layers.{}.mlp.up_proj", "blk.{}.ffn_up"),
    copy("model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"),
    copy("model.layers.{}.block_sparse_moe.gate", "blk.{}.ffn_gate_inp"),
    rule(
        "model.layers.{}.block_sparse_moe.experts.{e}.w1",
        "blk.{}.ffn_gate_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.block_sparse_moe.experts.{e}.w2",
        "blk.{}.ffn_down_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.block_sparse_moe.experts.{e}.w3",
        "blk.{}.ffn_up_exps",
        Transform::Expert,
    ),
];

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if hp.find(&["draft_vocab_size"]).is_some() {
        return Err(hp.error("draft models (EAGLE-3) are not supported".to_owned()));
    }
    common::text_model(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("rope.dimension_count", hp.head_dim()?);
    Ok(())
}

pub(super) static LLAMA_TYPE: ModelType = ModelType {
    name: "llama",
    defaults: &[
        ("vocab_size", Default::Int(32000)),
        ("hidden_size", Default::Int(4096)),
        ("intermediate_size", Default::Int(11008)),
        ("num_hidden_layers", Default::Int(32)),
        ("num_attention_heads", Default::Int(32)),
        ("num_key_value_heads", Default::Null),
        ("max_position_embeddings", Default::Int(2048)),
        ("rms_norm_eps", Default::Float(1e-6)),
    ],
    renames: &[],
    derives_head_dim: true,
    rope_theta: 10000.0,
};

pub(super) static MISTRAL_TYPE: ModelType = ModelType {
    name: "mistral",
    defaults: &[
        ("vocab_size", Default::Int(32000)),
        ("hidden_size", Default::Int(4096)),
        ("intermediate_size", Default::Int(14336)),
        ("num_hidden_layers", Default::Int(32)),
        ("num_attention_heads", Default::Int(32)),
        ("num_key_value_heads", Default::Int(8)),
        ("head_dim", Default::Null),
        ("max_position_embeddings", Default::Int(131072)),
        ("rms_norm_eps", Default::Float(1e-6)),
    ],
    renames: &[],
    derives_head_dim: false,
    rope_theta: 10000.0,
};

pub(super) static MIXTRAL_TYPE: ModelType = ModelType {
    name: "mixtral",
    defaults: &[
        ("vocab_size", Default::Int(32000)),
        ("hidden_size", Default::Int(4096)),
        ("intermediate_size", Default::Int(14336)),
        ("num_hidden_layers", Default::Int(32)),
        ("num_attention_heads", Default::Int(32)),
        ("num_key_value_heads", Default::Int(8)),
        ("head_dim", Default::Null),
        ("max_position_embeddings", Default::Int(131072)),
        ("rms_norm_eps", Default::Float(1e-5)),
        ("num_experts_per_tok", Default::Int(2)),
        ("num_local_experts", Default::Int(8)),
    ],
    renames: &[("num_experts", "num_local_experts")],
    derives_head_dim: false,
    rope_theta: 1e6,
};
