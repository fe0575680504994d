//! MiMo V2: a mixture of experts whose values are shorter than its keys, with heads that predict further tokens as
//! blocks after the others.

use serde_json::Value;

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{EXPERTS_GATES_FIRST, PREDICTING, SCORE_BIAS};
use crate::arch::rules::names::{DECODER, LAYER, Rule};
use crate::arch::{Architecture, Fixed, Graph, Hooks, Hparams, Keys, PLAIN, class};

pub(super) static MIMO2: Architecture = Architecture {
    gguf: "mimo2",
    classes: &[class("MiMoV2ForCausalLM"), class("MiMoV2FlashForCausalLM")],
    rules: &[OWN, DECODER, EXPERTS_GATES_FIRST, SCORE_BIAS, PREDICTING],
    hyperparameters,
    hooks: Hooks {
        canonical,
        more_blocks: |_, _| Ok(PREDICTING_BLOCKS),
        ..Hooks::NONE
    },
    graph: Graph::SILU.fixing(&[("topk_method", Fixed::OneOf(&["noaux_tc"]))]),
    ..PLAIN
};

/// Blocks that predict further tokens, which no configuration counts.
const PREDICTING_BLOCKS: u32 = 3;
/// The epsilon of configurations that do not say.
const EPSILON: f32 = 1e-5;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    for (own, other) in [
        ("swa_head_dim", "head_dim"),
        ("swa_num_attention_heads", "num_attention_heads"),
        ("swa_v_head_dim", "v_head_dim"),
    ] {
        let (found, expected) = (hp.u32(&[own])?, hp.u32(&[other])?);
        if found != expected {
            return Err(hp.error(format!("{own}: found {found}, expected {expected} ({other})")));
        }
    }
    common::text_model(hp, keys)?;
    let key = "hybrid_layer_pattern";
    let pattern = hp.find(&[key]).and_then(Value::as_array);
    let layers = hp.u32(&["num_hidden_layers"])?;
    let pattern = pattern
        .filter(|list| list.len() == layers as usize)
        .ok_or_else(|| {
            hp.error(format!(
                "{key}: expected a list of one number for each of {layers} layers"
            ))
        })?;
    let slides = pattern.iter().map(|n| hp.to_u32(key, n).map(|n| n.min(1)));
    let mut slides = slides.collect::<Result<Vec<u32>>>()?;
    slides.resize(hp.block_count() as usize, 1);
    let (all, window) = (
        hp.u32(&["num_key_value_heads"])?,
        hp.u32(&["swa_num_key_value_heads"])?,
    );
    let heads = slides
        .iter()
        .map(|&slides| if slides == 1 { window } else { all });
    keys.set("attention.head_count_kv", common::numbers(heads.collect()));
    keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
    keys.set("attention.sliding_window_pattern", common::numbers(slides));
    keys.set("attention.value_length", hp.u32(&["v_head_dim"])?);
    keys.set("expert_count", hp.u32(&["n_routed_experts"])?);
    keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
    let factor = hp
        .partial_rotary_factor()?
        .ok_or_else(|| hp.error("key partial_rotary_factor: expected a number, found none".to_owned()))?;
    let rotated = f64::from(hp.u32(&["head_dim"])?) * factor;
    keys.set("rope.dimension_count", rotated as u32);
    let epsilon = hp.opt_f32(&["layernorm_epsilon"])?;
    keys.set("attention.layer_norm_rms_epsilon", epsilon.unwrap_or(EPSILON));
    keys.set_some("attention.value_scale", hp.opt_f32(&["attention_value_scale"])?);
    // Transformers 5 saves a model without the predicting blocks.
    let predicting = hp.block_count().saturating_sub(layers);
    keys.set_some("nextn_predict_layers", Some(predicting).filter(|&n| n > 0));
    Ok(())
}

/// The predicting blocks are numbered by themselves.
fn canonical(hp: &Hparams, name: String) -> Option<String> {
    let Some(rest) = name.strip_prefix("model.mtp.layers.") else {
        return Some(name);
    };
    let (number, rest) = rest.split_once('.')?;
    let number: u32 = number.parse().ok().filter(|&n| n < PREDICTING_BLOCKS)?;
    let block = hp.u32(&["num_hidden_layers"]).ok()?.checked_add(number)?;
    Some(format!("model.layers.{block}.{rest}"))
}

const OWN: &[Rule] = &[
    LAYER.copy("self_attn.qkv_proj", "attn_qkv"),
    LAYER.exact("self_attn.attention_sink_bias", "attn_sinks.weight"),
    LAYER.copy("pre_mlp_layernorm", "ffn_norm"),
    LAYER.copy("final_layernorm", "layer_output_norm"),
];
