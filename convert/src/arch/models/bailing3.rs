//! Ling and Ring of the third generation: delta attention in most layers, latent attention with a gate for each head in
//! the others.

use gguf::{Array, Value as GgufValue};
use serde_json::Value;

use super::kimi_linear::channels;
use super::step;
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{EXPERTS, PREDICTING, SCORE_BIAS, SHARED_EXPERTS};
use crate::arch::rules::hooks::predicting_layers;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform, copy};
use crate::arch::{Architecture, Fixed, Graph, Hooks, Hparams, Keys, PLAIN, View, class, multimodal};

pub(super) static BAILINGMOE3: Architecture = Architecture {
    gguf: "bailingmoe3",
    classes: &[
        class("BailingMoeV3ForCausalLM"),
        class("BailingMoeV3VLForConditionalGeneration"),
    ],
    rules: &[OWN, DECODER, EXPERTS, SHARED_EXPERTS, SCORE_BIAS, PREDICTING],
    hyperparameters,
    hooks: Hooks {
        // All heads share one key and one value; the layers' numbers replace this one.
        prepare: |config| drop(config.insert("num_key_value_heads".to_owned(), 1.into())),
        canonical,
        more_blocks: predicting_layers,
        unadapted: &[
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_q_a",
            "attn_q_b",
            "attn_kv_a_mqa",
            "attn_gate",
            "attn_output",
            "ssm_beta",
            "ssm_f_a",
            "ssm_g_a",
            "output",
        ],
        ..Hooks::NONE
    },
    graph: Graph::SILU.fixing(&[
        ("no_kda_lora", Fixed::Is(true)),
        ("kda_safe_gate", Fixed::Is(true)),
        (
            "gated_attention_proj_granularity_type",
            Fixed::OneOf(&["head_wise"]),
        ),
    ]),
    ..PLAIN
};

const OWN: &[Rule] = &[
    copy("model.word_embeddings", "token_embd"),
    LAYER.copy("attention.q_proj", "attn_q"),
    LAYER.copy("attention.k_proj", "attn_k"),
    LAYER.copy("attention.v_proj", "attn_v"),
    LAYER.copy("attention.o_proj", "attn_output"),
    LAYER.copy("attention.dense", "attn_output"),
    LAYER.rule(
        "attention.q_conv1d",
        "ssm_conv1d_q",
        Transform::View(channels, None),
    ),
    LAYER.rule(
        "attention.k_conv1d",
        "ssm_conv1d_k",
        Transform::View(channels, None),
    ),
    LAYER.rule(
        "attention.v_conv1d",
        "ssm_conv1d_v",
        Transform::View(channels, None),
    ),
    LAYER.copy("attention.f_proj", "ssm_f_a"),
    LAYER.copy("attention.b_proj", "ssm_beta"),
    LAYER.copy("attention.g_proj", "ssm_g_a"),
    LAYER.copy("attention.head_gate", "attn_gate"),
    LAYER.copy("attention.o_norm", "ssm_norm"),
    LAYER.exact_with("attention.A_log", "ssm_a", Transform::View(as_column, Some(exp))),
    LAYER.exact("attention.dt_bias", "ssm_dt.bias"),
    LAYER.copy("attention.q_a_proj", "attn_q_a"),
    LAYER.copy("attention.q_a_layernorm", "attn_q_a_norm"),
    LAYER.copy("attention.q_b_proj", "attn_q_b"),
    LAYER.copy("attention.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    LAYER.copy("attention.kv_a_layernorm", "attn_kv_a_norm"),
    LAYER.exact_with(
        "attention.kv_b_proj.weight",
        "attn_k_b.weight",
        Transform::View(key_part, None),
    ),
    LAYER.exact_with(
        "attention.kv_b_proj.weight",
        "attn_v_b.weight",
        Transform::View(value_part, None),
    ),
    LAYER.copy("final_layernorm", "layer_output_norm"),
];

/// A vector as a matrix of one column.
fn as_column(_: &Hparams, view: View) -> Result<Option<View>> {
    let shape = [view.len(), 1];
    Ok(view.shaped(&shape))
}

fn exp(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

/// Of each head's rows the first, which make its key, transposed: they multiply the query instead.
pub(super) fn key_part(hp: &Hparams, view: View) -> Result<Option<View>> {
    let key = u64::from(hp.u32(&["qk_nope_head_dim"])?);
    Ok(by_head(hp, view)?.and_then(|v| v.cut(1, 0, key)?.swap(1, 2)))
}

/// Of each head's rows the last, which make its value.
pub(super) fn value_part(hp: &Hparams, view: View) -> Result<Option<View>> {
    let key = u64::from(hp.u32(&["qk_nope_head_dim"])?);
    let value = u64::from(hp.u32(&["v_head_dim"])?);
    Ok(by_head(hp, view)?.and_then(|v| v.cut(1, key, value)))
}

fn by_head(hp: &Hparams, view: View) -> Result<Option<View>> {
    let head = u64::from(hp.u32(&["qk_nope_head_dim"])?) + u64::from(hp.u32(&["v_head_dim"])?);
    let view = view.split(0, hp.u32(&["num_attention_heads"])?.into());
    Ok(view.filter(|v| v.shape().len() == 3 && v.shape()[1] == head))
}

/// Whether a layer has latent attention: the last of each group, those behind the last group, those that predict.
fn is_latent(hp: &Hparams, layer: u32) -> Result<bool> {
    let (layers, group) = (hp.u32(&["num_hidden_layers"])?, hp.u32(&["layer_group_size"])?);
    match group {
        0 => Err(hp.error("layer_group_size: found 0, expected at least 1".to_owned())),
        _ => Ok(layer >= layers / group * group || (layer + 1).is_multiple_of(group)),
    }
}

/// Without the projector of images; the gates of heads, which are stored under the name of other gates, under one of
/// their own.
fn canonical(hp: &Hparams, name: String) -> Option<String> {
    if name.starts_with("linear_proj") {
        return None;
    }
    let rest = name.strip_prefix("model.layers.").and_then(|n| n.split_once('.'));
    let layer = rest
        .filter(|(_, rest)| *rest == "attention.g_proj.weight")
        .and_then(|(layer, _)| layer.parse().ok());
    match layer.map(|layer| is_latent(hp, layer)) {
        Some(Ok(true)) => Some(name.replace("g_proj", "head_gate")),
        _ => Some(name),
    }
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    for key in ["no_kda_lora", "kda_safe_gate"] {
        if hp.opt_bool(key) != Some(true) {
            return Err(hp.error(format!(
                "{key}: expected true, which the graph of bailingmoe3 has fixed"
            )));
        }
    }
    common::text_model(hp, keys)?;
    let kv = (0..hp.block_count())
        .map(|layer| Ok(u32::from(is_latent(hp, layer)?)))
        .collect::<Result<Vec<u32>>>()?;
    keys.set("attention.head_count_kv", common::numbers(kv));
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("ssm.conv_kernel", hp.u32(&["short_conv_kernel_size"])?);
    keys.set("kda.head_dim", hp.u32(&["head_dim"])?);
    keys.set("kda.safe_gate", true);
    keys.set("kda.gate_lower_bound", hp.f32(&["kda_lower_bound"])?);
    let (rank, rotated) = (hp.u32(&["kv_lora_rank"])?, hp.u32(&["qk_rope_head_dim"])?);
    keys.set_some("attention.q_lora_rank", hp.opt_u32(&["q_lora_rank"])?);
    keys.set("attention.kv_lora_rank", rank);
    keys.set("rope.dimension_count", rotated);
    keys.set("attention.key_length", hp.head_of(rank, rotated)?);
    keys.set(
        "attention.key_length_mla",
        hp.head_of(hp.u32(&["qk_nope_head_dim"])?, rotated)?,
    );
    keys.set("attention.value_length_mla", hp.u32(&["v_head_dim"])?);
    keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
    keys.set(
        "expert_shared_feed_forward_length",
        hp.u32(&["moe_shared_expert_intermediate_size"])?,
    );
    keys.set(
        "expert_shared_count",
        hp.opt_u32(&["num_shared_experts"])?.unwrap_or(1),
    );
    keys.set("leading_dense_block_count", hp.u32(&["first_k_dense_replace"])?);
    keys.set("expert_weights_scale", hp.f32(&["routed_scaling_factor"])?);
    let norm = hp.opt_bool("norm_topk_prob");
    keys.set(
        "expert_weights_norm",
        norm.ok_or_else(|| hp.missing(&["norm_topk_prob"]))?,
    );
    for (suffix, key) in [
        ("swiglu_clamp_exp", "expert_swiglu_limit_list"),
        ("swiglu_clamp_shexp", "share_expert_swiglu_limit_list"),
    ] {
        keys.set_some(suffix, step::limits(hp, key)?);
    }
    let predicting = hp.opt_u32(&["num_nextn_predict_layers"])?;
    keys.set_some("nextn_predict_layers", predicting.filter(|&n| n > 0));
    if multimodal::class_of(hp.values()) == Some("BailingMoeV3VLForConditionalGeneration") {
        keys.set("rope.dimension_sections", sections(hp, rotated)?);
    }
    Ok(())
}

/// Pairs of a head that are turned by time, height and width.
fn sections(hp: &Hparams, rotated: u32) -> Result<GgufValue> {
    const KEY: &str = "mrope_section";
    let list = hp.find(&[KEY]).and_then(Value::as_array);
    let list = list.ok_or_else(|| hp.missing(&[KEY]))?;
    let mut sections = list
        .iter()
        .take(3)
        .map(|v| Ok(i32::try_from(hp.to_u32(KEY, v)?).unwrap_or(i32::MAX)))
        .collect::<Result<Vec<i32>>>()?;
    let pairs: i64 = sections.iter().map(|&n| i64::from(n)).sum();
    if sections.len() != 3 || 2 * pairs != i64::from(rotated) {
        return Err(hp.error(format!(
            "{KEY}: found {pairs} pairs in {} sections, expected 3 of half of the {rotated} of qk_rope_head_dim",
            sections.len()
        )));
    }
    sections.push(0);
    Ok(GgufValue::Array(Array::I32(sections)))
}
