//! Kimi Linear: delta attention in most layers, latent attention in the others.

use gguf::{Array, Value as GgufValue};
use serde_json::Value;

use super::deepseek::LATENT;
use super::mamba::negative_exp;
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::BLOCK_SPARSE_EXPERTS;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::{Architecture, Hooks, Hparams, Keys, PLAIN, View, class, either_class};

pub(super) static KIMI_LINEAR: Architecture = Architecture {
    gguf: "kimi-linear",
    classes: &[class("KimiLinearForCausalLM"), either_class("KimiLinearModel")],
    rules: &[LATENT, DELTA, DECODER, BLOCK_SPARSE_EXPERTS, SHARED],
    hyperparameters,
    hooks: Hooks {
        unadapted: &[
            "attn_q",
            "attn_kv_a_mqa",
            "attn_output",
            "ssm_beta",
            "ssm_f_a",
            "ssm_f_b",
            "ssm_g_a",
            "ssm_g_b",
            "output",
        ],
        ..Hooks::NONE
    },
    ..PLAIN
};

pub(super) const DELTA: &[Rule] = &[
    LAYER.rule(
        "self_attn.q_conv1d",
        "ssm_conv1d_q",
        Transform::View(channels, None),
    ),
    LAYER.rule(
        "self_attn.k_conv1d",
        "ssm_conv1d_k",
        Transform::View(channels, None),
    ),
    LAYER.rule(
        "self_attn.v_conv1d",
        "ssm_conv1d_v",
        Transform::View(channels, None),
    ),
    LAYER.copy("self_attn.f_a_proj", "ssm_f_a"),
    LAYER.copy("self_attn.f_b_proj", "ssm_f_b"),
    LAYER.copy("self_attn.b_proj", "ssm_beta"),
    LAYER.copy("self_attn.g_a_proj", "ssm_g_a"),
    LAYER.copy("self_attn.g_b_proj", "ssm_g_b"),
    LAYER.copy("self_attn.o_norm", "ssm_norm"),
    LAYER.exact_with("self_attn.A_log", "ssm_a", Transform::Map(negative_exp)),
    LAYER.exact("self_attn.dt_bias", "ssm_dt.bias"),
];

pub(super) const SHARED: &[Rule] = &[
    // The layers without experts, as transformers 5 names them.
    LAYER.copy("block_sparse_moe.gate_proj", "ffn_gate"),
    LAYER.copy("block_sparse_moe.up_proj", "ffn_up"),
    LAYER.copy("block_sparse_moe.down_proj", "ffn_down"),
    LAYER.copy("block_sparse_moe.shared_experts.gate_proj", "ffn_gate_shexp"),
    LAYER.copy("block_sparse_moe.shared_experts.up_proj", "ffn_up_shexp"),
    LAYER.copy("block_sparse_moe.shared_experts.down_proj", "ffn_down_shexp"),
    LAYER.exact(
        "block_sparse_moe.gate.e_score_correction_bias",
        "exp_probs_b.bias",
    ),
];

/// A convolution of channels by themselves as 1 x channels x 1 x width, whether stored with a dimension of 1 between
/// or without.
pub(super) fn channels(_: &Hparams, view: View) -> Result<Option<View>> {
    Ok(match view.shape()[..] {
        [channels, width] | [channels, 1, width] => view.shaped(&[1, channels, 1, width]),
        _ => None,
    })
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    // Layers are numbered from one.
    let full = hp.inside("linear_attn_config", "full_attn_layers")?;
    let full = full.as_array().ok_or_else(|| {
        hp.error("linear_attn_config: full_attn_layers: expected a list, found none".to_owned())
    })?;
    // The keys' matrix absorbed into the queries, all heads share one key and one value.
    let heads = |layer: u32| i32::from(full.contains(&Value::from(layer + 1)));
    let heads = (0..hp.block_count()).map(heads).collect();
    keys.set("attention.head_count_kv", GgufValue::Array(Array::I32(heads)));
    for (suffix, key) in [
        ("ssm.conv_kernel", "short_conv_kernel_size"),
        ("kda.head_dim", "head_dim"),
    ] {
        let number = hp.inside("linear_attn_config", key)?;
        keys.set(suffix, hp.to_u32(key, number)?);
    }
    keys.set_some("attention.q_lora_rank", hp.opt_u32(&["q_lora_rank", "n_lora_q"])?);
    let rank = hp.u32(&["kv_lora_rank", "n_lora_kv"])?;
    let rotated = hp.u32(&["qk_rope_head_dim", "n_rot"])?;
    let plain = hp.u32(&["qk_nope_head_dim"])?;
    keys.set("attention.kv_lora_rank", rank);
    keys.set("rope.dimension_count", rotated);
    keys.set("attention.key_length", hp.head_of(rank, rotated)?);
    keys.set("attention.key_length_mla", hp.head_of(plain, rotated)?);
    keys.set("attention.value_length_mla", hp.u32(&["v_head_dim"])?);
    keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
    keys.set("expert_shared_count", hp.u32(&["num_shared_experts"])?);
    keys.set("leading_dense_block_count", hp.u32(&["first_k_dense_replace"])?);
    keys.set("expert_weights_scale", hp.f32(&["routed_scaling_factor"])?);
    Ok(())
}
