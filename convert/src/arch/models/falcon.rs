//! Falcon 7B, 40B, 180B and Falcon 2.

use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, copy};
use crate::arch::rules::rows;
use crate::arch::{Activation, Architecture, Fixed, Graph, Hparams, Keys, ModelType, PLAIN, Rows, class};

pub(super) static FALCON: Architecture = Architecture {
    gguf: "falcon",
    classes: &[class("FalconForCausalLM"), class("RWForCausalLM")],
    rules: &[RULES],
    hyperparameters,
    model_types: &[&FALCON_TYPE],
    graph: Graph::with(Activation::Gelu)
        .fixing(&[("parallel_attn", Fixed::Is(true)), ("alibi", Fixed::Is(false))]),
    ..PLAIN
};

const BLOCK: Scope = Scope::new("transformer.h.{}", "blk.{}");

const RULES: &[Rule] = &[
    copy("transformer.word_embeddings", "token_embd"),
    BLOCK.copy("input_layernorm", "attn_norm"),
    BLOCK.copy("ln_mlp", "attn_norm"),
    BLOCK.copy("ln_attn", "attn_norm_2"),
    BLOCK.rule(
        "self_attention.query_key_value",
        "attn_qkv",
        Transform::Rows(by_kind),
    ),
    BLOCK.copy("self_attention.dense", "attn_output"),
    BLOCK.copy("mlp.dense_h_to_4h", "ffn_up"),
    BLOCK.copy("mlp.dense_4h_to_h", "ffn_down"),
    copy("transformer.ln_f", "output_norm"),
    copy("lm_head", "output"),
];

/// Query heads and key-value heads. The key-value heads of the configuration count only where heads are
/// grouped; Falcon 7B has one, whatever its configuration says.
fn heads(hp: &Hparams) -> Result<(u32, u32)> {
    let heads = hp.u32(&["num_attention_heads", "n_head"])?;
    let grouped = hp.opt_bool("new_decoder_architecture") == Some(true);
    let one = hp.opt_bool("multi_query").unwrap_or(true) && !grouped;
    let kv = match one {
        true => 1,
        false => hp.opt_u32(&["num_kv_heads", "n_head_kv"])?.unwrap_or(1),
    };
    if heads == 0 || kv == 0 || !heads.is_multiple_of(kv) {
        return Err(hp.error(format!(
            "expected query heads that are a multiple of at least one key-value head, found {heads} and {kv}"
        )));
    }
    Ok((heads, kv))
}

fn by_kind(hp: &Hparams, stored: u64) -> Result<Rows> {
    let (heads, kv) = heads(hp)?;
    let (heads, kv) = (u64::from(heads), u64::from(kv));
    Ok(rows::by_group(heads, kv, stored / (heads + 2 * kv)))
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if hp.opt_bool("alibi") == Some(true) || hp.opt_bool("parallel_attn") == Some(false) {
        return Err(hp.error(
            "Falcon models with position biases (alibi) or sequential layers (parallel_attn is false) have no \
             form in GGUF"
                .to_owned(),
        ));
    }
    let (heads, kv) = heads(hp)?;
    keys.set("context_length", 2048u32);
    keys.set("tensor_data_layout", "jploski");
    keys.set("embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("feed_forward_length", hp.times(4, &["hidden_size"])?);
    keys.set("block_count", hp.block_count());
    keys.set("attention.head_count", heads);
    keys.set("attention.head_count_kv", kv);
    keys.set("attention.layer_norm_epsilon", hp.f32(&["layer_norm_epsilon"])?);
    keys.set_file_type();
    Ok(())
}

pub(super) static FALCON_TYPE: ModelType = ModelType::of("falcon");
