//! MPT.

use crate::Result;
use crate::arch::rules::names::{Rule, copy};
use crate::arch::{Activation, Architecture, Graph, Hparams, Keys, ModelType, PLAIN, class};

pub(super) static MPT: Architecture = Architecture {
    gguf: "mpt",
    // The first is the name that the published configurations have, the second that of transformers.
    classes: &[class("MPTForCausalLM"), class("MptForCausalLM")],
    rules: &[RULES],
    hyperparameters,
    model_types: &[&MPT_TYPE],
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

const RULES: &[Rule] = &[
    copy("transformer.wte", "token_embd"),
    copy("transformer.wpe", "position_embd"),
    copy("transformer.blocks.{}.norm_1", "blk.{}.attn_norm"),
    copy("transformer.blocks.{}.attn.Wqkv", "blk.{}.attn_qkv"),
    copy("transformer.blocks.{}.attn.q_ln", "blk.{}.attn_q_norm"),
    copy("transformer.blocks.{}.attn.k_ln", "blk.{}.attn_k_norm"),
    copy("transformer.blocks.{}.attn.out_proj", "blk.{}.attn_output"),
    copy("transformer.blocks.{}.norm_2", "blk.{}.ffn_norm"),
    copy("transformer.blocks.{}.ffn.up_proj", "blk.{}.ffn_up"),
    copy("transformer.blocks.{}.ffn.down_proj", "blk.{}.ffn_down"),
    copy("transformer.norm_f", "output_norm"),
    copy("lm_head", "output"),
];

/// The exponent range of the position biases that the configuration leaves out.
const DEFAULT_ALIBI_BIAS: f64 = 8.0;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("context_length", hp.u32(&["max_seq_len"])?);
    keys.set("embedding_length", hp.u32(&["d_model"])?);
    keys.set("block_count", hp.block_count());
    keys.set("feed_forward_length", hp.times(4, &["d_model"])?);
    keys.set("attention.head_count", hp.u32(&["n_heads"])?);
    let attention = hp.find(&["attn_config"]);
    let attention = |key: &str| attention.and_then(|a| a.get(key)).filter(|v| !v.is_null());
    if let Some(kv) = attention("kv_n_heads") {
        match hp.to_u32("attn_config.kv_n_heads", kv)? {
            0 => {}
            kv => keys.set("attention.head_count_kv", kv),
        }
    }
    keys.set("attention.layer_norm_epsilon", 1e-5f32);
    if let Some(clip) = attention("clip_qkv") {
        keys.set("attention.clamp_kqv", hp.to_f32("attn_config.clip_qkv", clip)?);
    }
    // Without the one it is on, with null off.
    let alibi = hp.find(&["attn_config"]).and_then(|a| a.get("alibi"));
    let bias = match alibi.is_none_or(|v| v == true) {
        true => attention("alibi_bias_max").map_or(Some(DEFAULT_ALIBI_BIAS), serde_json::Value::as_f64),
        false => Some(0.0),
    };
    let bias =
        bias.ok_or_else(|| hp.error("attn_config.alibi_bias_max: expected a number, found none".to_owned()))?;
    keys.set("attention.max_alibi_bias", bias as f32);
    Ok(())
}

pub(super) static MPT_TYPE: ModelType = ModelType {
    name: "mpt",
    renames: &[
        ("num_attention_heads", "n_heads"),
        ("hidden_size", "d_model"),
        ("num_hidden_layers", "n_layers"),
    ],
    ..ModelType::BLANK
};
