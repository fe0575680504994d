//! PLM and MiniCPM 3: keys and values out of a shorter vector.

use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, Rule};
use crate::arch::rules::{common, rope};
use crate::arch::{Activation, Architecture, Graph, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static PLM: Architecture = Architecture {
    gguf: "plm",
    classes: &[class("PLMForCausalLM")],
    rules: &[COMPRESSED, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        keys.set("attention.kv_lora_rank", hp.u32(&["kv_lora_rank"])?);
        keys.set("attention.key_length", key_length(hp)?);
        keys.set("attention.value_length", hp.u32(&["v_head_dim"])?);
        keys.set("rope.dimension_count", hp.u32(&["qk_rope_head_dim"])?);
        Ok(())
    },
    graph: Graph::with(Activation::Relu2),
    ..PLAIN
};

pub(super) static MINICPM3: Architecture = Architecture {
    gguf: "minicpm3",
    classes: &[class("MiniCPM3ForCausalLM")],
    rules: &[COMPRESSED, DECODER],
    hyperparameters: minicpm3_keys,
    generated: rope::long_factors,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece]),
    ..PLAIN
};

/// Numbers that the graph of MiniCPM 3 has fixed.
const FIXED: [(&str, f64); 3] = [
    ("scale_emb", 12.0),
    ("scale_depth", 1.4),
    ("dim_model_base", 256.0),
];

fn minicpm3_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    for (key, expected) in FIXED {
        if let Some(found) = hp.opt_f64(&[key])?.filter(|found| *found != expected) {
            return Err(hp.error(format!(
                "{key} is {found}, but the graph of minicpm3 has {expected} fixed"
            )));
        }
    }
    // Its values have the length that the hidden size divided among the heads gives.
    if let Some(length) = hp
        .opt_u32(&["v_head_dim"])?
        .filter(|n| hp.even_head_dim().is_ok_and(|m| m != *n))
    {
        return Err(hp.error(format!(
            "v_head_dim: expected {} (hidden_size / num_attention_heads), which the graph of minicpm3 has, found {length}",
            hp.even_head_dim()?
        )));
    }
    keys.set_file_type();
    keys.set("context_length", hp.u32(&["max_position_embeddings"])?);
    keys.set("embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("block_count", hp.block_count());
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set("attention.head_count", hp.u32(&["num_attention_heads"])?);
    keys.set("attention.head_count_kv", hp.u32(&["num_key_value_heads"])?);
    keys.set("attention.layer_norm_rms_epsilon", hp.f32(&["rms_norm_eps"])?);
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set_some("attention.q_lora_rank", hp.opt_u32(&["q_lora_rank"])?);
    keys.set("attention.kv_lora_rank", hp.u32(&["kv_lora_rank"])?);
    keys.set("attention.key_length", key_length(hp)?);
    keys.set("rope.dimension_count", hp.u32(&["qk_rope_head_dim"])?);
    Ok(())
}

/// Elements of a key: those that are not rotated and those that are.
fn key_length(hp: &Hparams) -> Result<u32> {
    let plain = hp.u32(&["qk_nope_head_dim"])?;
    Ok(plain.saturating_add(hp.u32(&["qk_rope_head_dim"])?))
}

const COMPRESSED: &[Rule] = &[
    LAYER.copy("self_attn.q_a_proj", "attn_q_a"),
    LAYER.copy("self_attn.q_a_layernorm", "attn_q_a_norm"),
    LAYER.copy("self_attn.q_b_proj", "attn_q_b"),
    LAYER.copy("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    LAYER.copy("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    LAYER.copy("self_attn.kv_b_proj", "attn_kv_b"),
];
