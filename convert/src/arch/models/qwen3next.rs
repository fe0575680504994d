//! Qwen3-Next: gated delta nets in three layers of four, a mixture of experts in all.

use super::mamba::{negative_exp, squeezed};
use super::moe::rotated;
use super::qwen2moe::SHARED_EXPERT;
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{self, EXPERTS, PREDICTING};
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform, rule};
use crate::arch::{Architecture, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, Rows, Strided, class};

pub(super) static QWEN3NEXT: Architecture = Architecture {
    gguf: "qwen3next",
    classes: &[class("Qwen3NextForCausalLM")],
    rules: &[NORMS, DELTA_NET, SHARED_EXPERT, DECODER, EXPERTS, PREDICTING],
    hyperparameters,
    hooks: Hooks {
        canonical,
        more_blocks,
        ..Hooks::NONE
    },
    model_types: &[&QWEN3_NEXT_TYPE],
    graph: Graph::SILU.fixing(experts::WEIGHTS_ADD_UP),
    ..PLAIN
};

/// Norms are stored as their distance from one.
pub(super) const NORMS: &[Rule] = &[
    rule("model.norm", "output_norm", Transform::AddOne),
    LAYER.rule("input_layernorm", "attn_norm", Transform::AddOne),
    LAYER.rule(
        "post_attention_layernorm",
        "post_attention_norm",
        Transform::AddOne,
    ),
    LAYER.rule("self_attn.q_norm", "attn_q_norm", Transform::AddOne),
    LAYER.rule("self_attn.k_norm", "attn_k_norm", Transform::AddOne),
    LAYER.rule("enorm", "nextn.enorm", Transform::AddOne),
    LAYER.rule("hnorm", "nextn.hnorm", Transform::AddOne),
    LAYER.rule("shared_head.norm", "nextn.shared_head_norm", Transform::AddOne),
];

const DELTA_NET: &[Rule] = &[
    LAYER.rule(
        "linear_attn.in_proj_qkvz",
        "attn_qkv",
        Transform::Rows(queries_keys_values),
    ),
    LAYER.rule("linear_attn.in_proj_qkvz", "attn_gate", Transform::Rows(gates)),
    LAYER.copy("linear_attn.in_proj_ba", "ssm_ba"),
    LAYER.rule(
        "linear_attn.conv1d",
        "ssm_conv1d",
        Transform::View(squeezed, None),
    ),
    LAYER.exact_with("linear_attn.A_log", "ssm_a", Transform::Map(negative_exp)),
    LAYER.exact("linear_attn.dt_bias", "ssm_dt.bias"),
    LAYER.copy("linear_attn.norm", "ssm_norm"),
    LAYER.copy("linear_attn.out_proj", "ssm_out"),
];

/// Rows that a key head has in the fused matrix: (groups, key rows, value rows), stored group by group as
/// query, key, values, gates.
fn group(hp: &Hparams) -> Result<(u64, u64, u64)> {
    let groups = u64::from(hp.u32(&["linear_num_key_heads"])?);
    let values = u64::from(hp.u32(&["linear_num_value_heads"])?);
    let key = u64::from(hp.u32(&["linear_key_head_dim"])?);
    let value = u64::from(hp.u32(&["linear_value_head_dim"])?);
    if groups == 0 || !values.is_multiple_of(groups) {
        return Err(hp.error(format!(
            "linear_num_value_heads: expected a multiple of the {groups} key heads, found {values}"
        )));
    }
    Ok((groups, key, values / groups * value))
}

fn queries_keys_values(hp: &Hparams, _: u64) -> Result<Rows> {
    let (groups, key, value) = group(hp)?;
    let stride = 2 * (key + value);
    Ok(Rows(vec![
        Strided::new(0, &[(groups, stride), (key, 1)]),
        Strided::new(key, &[(groups, stride), (key, 1)]),
        Strided::new(2 * key, &[(groups, stride), (value, 1)]),
    ]))
}

fn gates(hp: &Hparams, _: u64) -> Result<Rows> {
    let (groups, key, value) = group(hp)?;
    let stride = 2 * (key + value);
    let start = 2 * key + value;
    Ok(Rows(vec![Strided::new(start, &[(groups, stride), (value, 1)])]))
}

/// The number in `mtp.layers.{n}.…`.
fn predicting_layer(name: &str) -> Option<u32> {
    let name = name.strip_prefix("model.").unwrap_or(name);
    let rest = name.strip_prefix("mtp.layers.")?;
    rest.split('.').next()?.parse().ok()
}

pub(super) fn more_blocks(hp: &Hparams, names: &mut dyn Iterator<Item = &str>) -> Result<u32> {
    if let Some(n) = hp.opt_u32(&["mtp_num_hidden_layers"])?.filter(|&n| n > 0) {
        return Ok(n);
    }
    let last = names.filter_map(predicting_layer).max();
    Ok(last.map_or(0, |n| n.saturating_add(1)))
}

/// Heads that predict further tokens become blocks after the others.
pub(super) fn canonical(hp: &Hparams, name: String) -> Option<String> {
    let Some(rest) = name
        .strip_prefix("model.mtp.")
        .or_else(|| name.strip_prefix("mtp."))
    else {
        return Some(name);
    };
    let blocks = hp.u32(&["num_hidden_layers"]).ok()?;
    if let Some(block) = predicting_layer(&name) {
        let inner = rest.splitn(3, '.').nth(2)?;
        return Some(format!("model.layers.{}.{inner}", blocks.checked_add(block)?));
    }
    let (kind, suffix) = rest.split_once('.')?;
    let inner = match kind {
        "fc" => "eh_proj",
        "pre_fc_norm_embedding" => "enorm",
        "pre_fc_norm_hidden" => "hnorm",
        "norm" => "shared_head.norm",
        other => other,
    };
    Some(format!("model.layers.{blocks}.{inner}.{suffix}"))
}

pub(super) fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set_some(
        "expert_feed_forward_length",
        hp.opt_u32(&["moe_intermediate_size"])?,
    );
    keys.set_some(
        "expert_shared_feed_forward_length",
        hp.opt_u32(&["shared_expert_intermediate_size"])?,
    );
    let layers = hp.u32(&["num_hidden_layers"])?;
    let more = hp.block_count().saturating_sub(layers);
    if more > 0 {
        keys.set("nextn_predict_layers", more);
    }
    let value_heads = hp.u32(&["linear_num_value_heads"])?;
    let value = hp.u32(&["linear_value_head_dim"])?;
    let inner = value_heads.checked_mul(value).ok_or_else(|| {
        hp.error(format!(
            "expected heads whose elements fit 32 bits, found {value_heads} of {value}"
        ))
    })?;
    keys.set("ssm.conv_kernel", hp.u32(&["linear_conv_kernel_dim"])?);
    keys.set("ssm.state_size", hp.u32(&["linear_key_head_dim"])?);
    keys.set("ssm.group_count", hp.u32(&["linear_num_key_heads"])?);
    keys.set("ssm.time_step_rank", value_heads);
    keys.set("ssm.inner_size", inner);
    if let Some(types) = hp.strings("layer_types") {
        if types.len() != layers as usize {
            return Err(hp.error(format!(
                "layer_types: expected {layers} entries (num_hidden_layers), found {}",
                types.len()
            )));
        }
        let mut recurrent: Vec<bool> = types.into_iter().map(|t| t == "linear_attention").collect();
        recurrent.resize(hp.block_count() as usize, false);
        keys.set(
            "attention.recurrent_layers",
            gguf::Value::Array(gguf::Array::Bool(recurrent)),
        );
    }
    keys.set(
        "full_attention_interval",
        hp.opt_u32(&["full_attention_interval"])?.unwrap_or(4),
    );
    keys.set("rope.dimension_count", rotated(hp, 0.25)?);
    Ok(())
}

pub(super) static QWEN3_NEXT_TYPE: ModelType = ModelType::of("qwen3_next");
