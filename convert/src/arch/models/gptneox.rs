//! GPT-NeoX and Pythia.

use crate::Result;
use crate::arch::rules::names::{Rule, Transform, copy, rule};
use crate::arch::rules::rows;
use crate::arch::{Activation, Architecture, Graph, Hparams, Keys, ModelType, PLAIN, Rows, class};

pub(super) static GPTNEOX: Architecture = Architecture {
    gguf: "gptneox",
    classes: &[class("GPTNeoXForCausalLM")],
    rules: &[RULES],
    hyperparameters,
    model_types: &[&GPT_NEOX_TYPE],
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

const RULES: &[Rule] = &[
    copy("gpt_neox.embed_in", "token_embd"),
    copy("gpt_neox.layers.{}.input_layernorm", "blk.{}.attn_norm"),
    rule(
        "gpt_neox.layers.{}.attention.query_key_value",
        "blk.{}.attn_qkv",
        Transform::Rows(by_kind),
    ),
    copy("gpt_neox.layers.{}.attention.dense", "blk.{}.attn_output"),
    copy("gpt_neox.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm"),
    copy("gpt_neox.layers.{}.mlp.dense_h_to_4h", "blk.{}.ffn_up"),
    copy("gpt_neox.layers.{}.mlp.dense_4h_to_h", "blk.{}.ffn_down"),
    copy("gpt_neox.final_layer_norm", "output_norm"),
    copy("embed_out", "output"),
];

/// The rows come head by head.
pub(super) fn by_kind(hp: &Hparams, stored: u64) -> Result<Rows> {
    let heads = u64::from(hp.heads()?.0);
    Ok(rows::by_head(heads, stored / 3 / heads))
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("context_length", hp.u32(&["max_position_embeddings"])?);
    keys.set("embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("block_count", hp.block_count());
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    let rotated = hp.f64(&["rotary_pct"])? * f64::from(hp.even_head_dim()?);
    keys.set("rope.dimension_count", rotated as u32);
    keys.set("attention.head_count", hp.heads()?.0);
    keys.set(
        "use_parallel_residual",
        hp.opt_bool("use_parallel_residual").unwrap_or(true),
    );
    keys.set("attention.layer_norm_epsilon", hp.f32(&["layer_norm_eps"])?);
    Ok(())
}

pub(super) static GPT_NEOX_TYPE: ModelType = ModelType::of("gpt_neox");
