//! GPT-NeoX and Pythia.

use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, copy};
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

const BLOCK: Scope = Scope::new("gpt_neox.layers.{}", "blk.{}");

const RULES: &[Rule] = &[
    copy("gpt_neox.embed_in", "token_embd"),
    BLOCK.copy("input_layernorm", "attn_norm"),
    BLOCK.rule("attention.query_key_value", "attn_qkv", Transform::Rows(by_kind)),
    BLOCK.copy("attention.dense", "attn_output"),
    BLOCK.copy("post_attention_layernorm", "ffn_norm"),
    BLOCK.copy("mlp.dense_h_to_4h", "ffn_up"),
    BLOCK.copy("mlp.dense_4h_to_h", "ffn_down"),
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
