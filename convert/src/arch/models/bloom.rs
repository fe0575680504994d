//! BLOOM.

use super::gptneox;
use crate::Result;
use crate::arch::rules::names::{Rule, Transform, copy, rule};
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

const RULES: &[Rule] = &[
    copy("word_embeddings", "token_embd"),
    copy("word_embeddings_layernorm", "token_embd_norm"),
    copy("h.{}.input_layernorm", "blk.{}.attn_norm"),
    rule(
        "h.{}.self_attention.query_key_value",
        "blk.{}.attn_qkv",
        Transform::Rows(gptneox::by_kind),
    ),
    copy("h.{}.self_attention.dense", "blk.{}.attn_output"),
    copy("h.{}.post_attention_layernorm", "blk.{}.ffn_norm"),
    copy("h.{}.mlp.dense_h_to_4h", "blk.{}.ffn_up"),
    copy("h.{}.mlp.dense_4h_to_h", "blk.{}.ffn_down"),
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
