//! BLOOM.

use super::gptneox;
use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, copy};
use crate::arch::{Activation, Architecture, Fixed, Graph, Hparams, Keys, ModelType, PLAIN, class_without};

pub(super) static BLOOM: Architecture = Architecture {
    gguf: "bloom",
    classes: &[
        class_without("BloomForCausalLM", "transformer."),
        class_without("BloomModel", "transformer."),
    ],
    rules: &[RULES],
    hyperparameters,
    model_types: &[&BLOOM_TYPE],
    graph: Graph::with(Activation::Gelu)
        .fixing(&[("apply_residual_connection_post_layernorm", Fixed::Is(false))]),
    ..PLAIN
};

const BLOCK: Scope = Scope::new("h.{}", "blk.{}");

const RULES: &[Rule] = &[
    copy("word_embeddings", "token_embd"),
    copy("word_embeddings_layernorm", "token_embd_norm"),
    BLOCK.copy("input_layernorm", "attn_norm"),
    BLOCK.rule(
        "self_attention.query_key_value",
        "attn_qkv",
        Transform::Rows(gptneox::by_kind),
    ),
    BLOCK.copy("self_attention.dense", "attn_output"),
    BLOCK.copy("post_attention_layernorm", "ffn_norm"),
    BLOCK.copy("mlp.dense_h_to_4h", "ffn_up"),
    BLOCK.copy("mlp.dense_4h_to_h", "ffn_down"),
    copy("ln_f", "output_norm"),
    copy("lm_head", "output"),
];

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let hidden = &["hidden_size", "n_embed"];
    let heads = hp.u32(&["n_head", "num_attention_heads"])?;
    keys.set(
        "context_length",
        hp.opt_u32(&["seq_length"])?.unwrap_or(hp.u32(hidden)?),
    );
    keys.set("embedding_length", hp.u32(hidden)?);
    keys.set("feed_forward_length", hp.times(4, hidden)?);
    keys.set("block_count", hp.block_count());
    keys.set("attention.head_count", heads);
    keys.set("attention.head_count_kv", heads);
    keys.set("attention.layer_norm_epsilon", hp.f32(&["layer_norm_epsilon"])?);
    keys.set_file_type();
    Ok(())
}

pub(super) static BLOOM_TYPE: ModelType = ModelType {
    name: "bloom",
    renames: &[
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
    ],
    ..ModelType::BLANK
};
