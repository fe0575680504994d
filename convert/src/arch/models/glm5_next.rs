//! GLM-5.3-Flash: delta attention in most layers, latent attention without rotation and an indexer of pooled keys in the
//! others, hyper-connections around each half, and experts behind the first dense layers.

use gguf::{Array, TensorType, Value as GgufValue};
use serde_json::Value;

use super::deepseek::{INDEXER, LATENT, absorbed_lengths};
use super::deepseek4::HYPER_CONNECTIONS;
use super::kimi_linear::DELTA;
use super::mamba::negative_exp;
use super::{bailing3, moe};
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{EXPERTS, PREDICTING, SCORE_BIAS, SHARED_EXPERTS};
use crate::arch::rules::hooks::{predicting_layers, without_tied_output};
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::{Architecture, Fixed, Graph, Hooks, Hparams, Keys, Named, PLAIN, View, class};

pub(super) static GLM5_NEXT: Architecture = Architecture {
    gguf: "glm5-next",
    classes: &[class("Glm5NextForConditionalGeneration")],
    rules: &[
        OWN,
        HYPER_CONNECTIONS,
        DECAYS,
        LATENT,
        DELTA,
        INDEXER,
        DECODER,
        EXPERTS,
        SHARED_EXPERTS,
        SCORE_BIAS,
        PREDICTING,
    ],
    hyperparameters,
    vocabulary: moe::glm_vocabulary,
    hooks: Hooks {
        prepare: |config| drop(config.shift_remove("head_dim")),
        canonical: without_tied_output,
        more_blocks: predicting_layers,
        force: |_, tensor, _| is_exact(tensor).then_some(TensorType::F32),
        ..Hooks::NONE
    },
    graph: Graph::SILU.fixing(&[("mla_use_nope", Fixed::Is(true)), ("mhc", Fixed::Is(true))]),
    ..PLAIN
};

/// Parts of the names of small matrices that are never rounded.
const EXACT: [&str; 6] = [
    "hc_attn_",
    "hc_ffn_",
    "indexer_compressor_",
    "ssm_a",
    "ssm_dt",
    "exp_probs_b",
];

fn is_exact(tensor: Named<'_>) -> bool {
    let inside = tensor.gguf.starts_with("blk.") || tensor.gguf.starts_with("output_hc");
    inside && EXACT.iter().any(|part| tensor.gguf.contains(part))
}

const OWN: &[Rule] = &[
    LAYER.exact(
        "self_attn.indexer.index_kpool_compress_gate",
        "indexer_compressor_gate.weight",
    ),
    LAYER.exact(
        "self_attn.indexer.index_kpool_compress_ape",
        "indexer_compressor_ape.weight",
    ),
    LAYER.exact_with(
        "self_attn.kv_b_proj.weight",
        "attn_k_b.weight",
        Transform::View(bailing3::key_part, None),
    ),
    LAYER.exact_with(
        "self_attn.kv_b_proj.weight",
        "attn_v_b.weight",
        Transform::View(bailing3::value_part, None),
    ),
];

/// Decays of delta attention, one for each head.
pub(super) const DECAYS: &[Rule] = &[LAYER
    .exact_with(
        "self_attn.A_log",
        "ssm_a",
        Transform::SingleView(of_heads, negative_exp),
    )
    .in_part()];

/// One number for each head; there may be more behind them.
fn of_heads(hp: &Hparams, view: View) -> Result<Option<View>> {
    let heads = u64::from(hp.u32(&["num_attention_heads"])?);
    let count = view.len();
    Ok(View::of(&[count]).and_then(|flat| flat.cut(0, 0, heads)))
}

/// A number inside `linear_attn_config`.
pub(super) fn delta_number(hp: &Hparams, key: &str) -> Result<u32> {
    let number = hp.inside("linear_attn_config", key)?;
    hp.to_u32(key, number)
}

/// The least gate of delta attention, where the configuration has one.
pub(super) fn lower_bound(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    const KEY: &str = "gate_lower_bound";
    let bound = hp
        .find(&["linear_attn_config"])
        .and_then(|config| config.get(KEY));
    let bound = bound
        .filter(|v| !v.is_null())
        .map(|v| hp.to_f32(KEY, v))
        .transpose()?;
    keys.set_some("kda.gate_lower_bound", bound);
    Ok(())
}

/// Lengths of latent attention's heads, with the keys' matrix absorbed into the queries.
pub(super) fn latent_lengths(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let (rank, rotated) = (hp.u32(&["kv_lora_rank"])?, hp.u32(&["qk_rope_head_dim"])?);
    keys.set("attention.kv_lora_rank", rank);
    keys.set("rope.dimension_count", rotated);
    absorbed_lengths(hp, keys, rank, rotated)
}

/// A flag that has to be there.
pub(super) fn needed_flag(hp: &Hparams, key: &str) -> Result<bool> {
    hp.opt_bool(key).ok_or_else(|| hp.missing(&[key]))
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    let layers = hp.u32(&["num_hidden_layers"])?;
    let types = hp
        .strings("layer_types")
        .ok_or_else(|| hp.missing(&["layer_types"]))?;
    if types.len() != layers as usize {
        return Err(hp.error(format!(
            "layer_types has {} entries, {layers} (num_hidden_layers) expected",
            types.len()
        )));
    }
    let mut heads: Vec<u32> = types
        .iter()
        .map(|t| u32::from(*t != "linear_attention"))
        .collect();
    heads.resize(hp.block_count() as usize, 1);
    keys.set("attention.head_count_kv", common::numbers(heads));
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("attention.layer_norm_epsilon", 1e-6f32);
    let predicting = hp.block_count().saturating_sub(layers);
    keys.set_some("nextn_predict_layers", Some(predicting).filter(|&n| n > 0));
    let (found, expected) = (delta_number(hp, "num_heads")?, hp.u32(&["num_attention_heads"])?);
    if found != expected {
        return Err(hp.error(format!(
            "linear_attn_config: num_heads: found {found}, expected the {expected} of num_attention_heads"
        )));
    }
    keys.set("ssm.conv_kernel", delta_number(hp, "short_conv_kernel_size")?);
    keys.set("kda.head_dim", delta_number(hp, "head_dim")?);
    lower_bound(hp, keys)?;
    if hp.opt_bool("mla_use_nope") != Some(true) || hp.u32(&["qk_rope_head_dim"])? != 0 {
        return Err(hp.error(
            "mla_use_nope, qk_rope_head_dim: expected true and 0, as the graph of glm5-next rotates nothing"
                .to_owned(),
        ));
    }
    keys.set("attention.q_lora_rank", hp.u32(&["q_lora_rank"])?);
    latent_lengths(hp, keys)?;
    keys.set("attention.indexer.head_count", hp.u32(&["index_n_heads"])?);
    keys.set("attention.indexer.key_length", hp.u32(&["index_head_dim"])?);
    keys.set("attention.indexer.top_k", hp.u32(&["index_topk"])?);
    keys.set("attention.indexer.kpool", hp.u32(&["index_kpool"])?);
    let tail = hp
        .find(&["index_kpool_always_select_tail"])
        .and_then(Value::as_bool);
    keys.set("attention.indexer.kpool_select_tail", tail.unwrap_or(true));
    if let Some(types) = hp.strings("indexer_types") {
        let full: Vec<bool> = types.into_iter().map(|t| t == "full").collect();
        keys.set("attention.indexer.types", GgufValue::Array(Array::Bool(full)));
    }
    keys.set("hyper_connection.count", hp.u32(&["hc_mult"])?);
    keys.set(
        "hyper_connection.sinkhorn_iterations",
        hp.u32(&["hc_sinkhorn_iters"])?,
    );
    keys.set("hyper_connection.epsilon", hp.f32(&["hc_eps"])?);
    keys.set("leading_dense_block_count", hp.u32(&["first_k_dense_replace"])?);
    keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
    keys.set("expert_shared_count", hp.u32(&["n_shared_experts"])?);
    keys.set("expert_weights_scale", hp.f32(&["routed_scaling_factor"])?);
    keys.set("expert_weights_norm", needed_flag(hp, "norm_topk_prob")?);
    if let Some(limit) = hp.opt_f32(&["swiglu_limit"])? {
        let limits = vec![limit; hp.block_count() as usize];
        keys.set("swiglu_clamp_exp", limits.clone());
        keys.set("swiglu_clamp_shexp", limits);
    }
    Ok(())
}
