//! Step 3.5 and 3.7: a mixture of experts with a gate for each head of attention, layers that see a window or
//! everything, and heads that predict further tokens as blocks after the others.

use serde_json::{Map, Value};

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::PREDICTING;
use crate::arch::rules::hooks::predicting_layers;
use crate::arch::rules::names::{DECODER, HEAD_NORMS_ABOUT_ONE, LAYER, NORMS_ABOUT_ONE, Rule, Transform};
use crate::arch::{Architecture, Generated, Hooks, Hparams, Keys, PLAIN, class};

pub(super) static STEP35: Architecture = Architecture {
    gguf: "step35",
    classes: &[
        class("Step3p5ForCausalLM"),
        class("Step3p7ForConditionalGeneration"),
    ],
    rules: &[NORMS_ABOUT_ONE, HEAD_NORMS_ABOUT_ONE, OWN, DECODER, PREDICTING],
    hyperparameters,
    generated: llama3_factors,
    hooks: Hooks {
        prepare,
        more_blocks: predicting_layers,
        ..Hooks::NONE
    },
    ..PLAIN
};

/// Of two bases, the second is that of layers with a window.
fn prepare(config: &mut Map<String, Value>) {
    let bases = config.get("rope_theta").and_then(Value::as_array).cloned();
    if let Some([full, window, ..]) = bases.as_deref() {
        config.insert("rope_theta".to_owned(), full.clone());
        config.insert("local_rope_theta".to_owned(), window.clone());
    }
}

/// The epsilon of configurations that do not say.
const EPSILON: f32 = 1e-5;

/// Which blocks see a window; those that the configuration does not name see everything.
fn slides(hp: &Hparams) -> Vec<bool> {
    let mut slides = hp.sliding_layers().unwrap_or_default();
    slides.resize(hp.block_count() as usize, false);
    slides
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    let slides = slides(hp);
    let factors = hp.find(&["partial_rotary_factors"]).and_then(Value::as_array);
    for (i, slides) in slides.iter().enumerate() {
        let expected = if *slides { 1.0 } else { 0.5 };
        let found = factors.and_then(|list| list.get(i)?.as_f64()).unwrap_or(0.5);
        if found != expected {
            return Err(hp.error(format!(
                "partial_rotary_factors: found {found} of layer {i}, but the graph of step35 has {expected} fixed"
            )));
        }
    }
    let (heads, kv) = (
        hp.u32(&["num_attention_heads"])?,
        hp.u32(&["num_attention_groups"])?,
    );
    let other = hp.find(&["attention_other_setting"]);
    let of_window = |key: &str, usual: u32| match other.and_then(|other| other.get(key)) {
        Some(value) => hp.to_u32(key, value),
        None => Ok(usual),
    };
    let (window_heads, window_kv) = (
        of_window("num_attention_heads", heads)?,
        of_window("num_attention_groups", kv)?,
    );
    let each = |full: u32, window: u32| {
        let list = slides.iter().map(|&slides| if slides { window } else { full });
        common::numbers(list.collect())
    };
    keys.set("attention.head_count", each(heads, window_heads));
    keys.set("attention.head_count_kv", each(kv, window_kv));
    keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
    keys.set("attention.sliding_window_pattern", slides.clone());
    keys.set("attention.value_length", hp.u32(&["head_dim"])?);
    keys.set("expert_count", hp.u32(&["moe_num_experts"])?);
    keys.set("expert_used_count", hp.u32(&["moe_top_k"])?);
    keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
    keys.set(
        "expert_shared_feed_forward_length",
        hp.u32(&["share_expert_dim"])?,
    );
    keys.set_some(
        "expert_weights_scale",
        hp.opt_f32(&["moe_router_scaling_factor"])?,
    );
    keys.set_some("expert_weights_norm", hp.stated_bool("norm_expert_weight"));
    let listed = hp.opt_str(&["moe_layers_enum"]).unwrap_or("");
    let listed = listed.split(',').filter_map(|n| n.trim().parse::<u32>().ok());
    keys.set("leading_dense_block_count", listed.min().unwrap_or(0));
    let every = hp.opt_u32(&["moe_every_n_layer"])?;
    keys.set("moe_every_n_layers", every.unwrap_or(1));
    let epsilon = hp.opt_f32(&["rms_norm_eps"])?;
    keys.set("attention.layer_norm_rms_epsilon", epsilon.unwrap_or(EPSILON));
    keys.set_some("swiglu_clamp_exp", limits(hp, "swiglu_limits")?);
    keys.set_some("swiglu_clamp_shexp", limits(hp, "swiglu_limits_shared")?);
    let predicting = hp.opt_u32(&["num_nextn_predict_layers"])?;
    keys.set_some("nextn_predict_layers", predicting.filter(|&n| n > 0));
    Ok(())
}

/// The limits at which gates are cut in each block; 0 where they are not.
pub(super) fn limits(hp: &Hparams, key: &str) -> Result<Option<Vec<f32>>> {
    let Some(list) = hp.find(&[key]) else {
        return Ok(None);
    };
    let list = list
        .as_array()
        .ok_or_else(|| hp.error(format!("{key}: expected a list of numbers, found {list}")))?;
    let number = |value: &Value| match value {
        Value::Null => Ok(0.0),
        value => hp.to_f32(key, value),
    };
    let mut limits: Vec<f32> = list.iter().map(number).collect::<Result<_>>()?;
    limits.resize(hp.block_count() as usize, 0.0);
    Ok(Some(limits))
}

/// Llama 3's factors for the half of a head that is rotated in layers without a window; 1 for the rest.
fn llama3_factors(hp: &Hparams) -> Result<Vec<Generated>> {
    let rope = hp.rope();
    let rope = rope
        .get("full_attention")
        .and_then(Value::as_object)
        .unwrap_or(rope);
    let kind = rope.get("rope_type").and_then(Value::as_str).unwrap_or("");
    if !kind.eq_ignore_ascii_case("llama3") {
        return Ok(Vec::new());
    }
    let number = |key: &str, usual: f64| rope.get(key).and_then(Value::as_f64).unwrap_or(usual);
    let head = hp.head_dim()?;
    let rotated = head / 2;
    let base = hp.opt_f64(&["rope_theta"])?.unwrap_or(10000.0);
    let factor = number("factor", 8.0);
    let (low, high) = (number("low_freq_factor", 1.0), number("high_freq_factor", 4.0));
    let context = number("original_max_position_embeddings", 8192.0);
    let of_pair = |i: u32| {
        let frequency = (base as f32).powf(i as f32 / rotated as f32).recip();
        let wavelength = std::f64::consts::TAU / f64::from(frequency);
        if wavelength < context / high {
            1.0
        } else if wavelength > context / low {
            factor
        } else {
            let smooth = (context / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    let mut values: Vec<f32> = (0..rotated).step_by(2).map(|i| of_pair(i) as f32).collect();
    values.resize((head / 2) as usize, 1.0);
    Ok(vec![Generated {
        name: "rope_freqs.weight",
        values,
    }])
}

const OWN: &[Rule] = &[
    LAYER.rule("enorm", "nextn.enorm", Transform::AddOne),
    LAYER.rule("hnorm", "nextn.hnorm", Transform::AddOne),
    LAYER.rule(
        "transformer.shared_head.norm",
        "nextn.shared_head_norm",
        Transform::AddOne,
    ),
    LAYER.copy("transformer.shared_head.output", "nextn.shared_head_head"),
    LAYER.copy("self_attn.g_proj", "attn_gate"),
    LAYER.copy("moe.gate", "ffn_gate_inp"),
    LAYER.exact("moe.router_bias", "exp_probs_b.bias"),
    LAYER.copy("moe.gate_proj", "ffn_gate_exps"),
    LAYER.copy("moe.up_proj", "ffn_up_exps"),
    LAYER.copy("moe.down_proj", "ffn_down_exps"),
    LAYER.copy("share_expert.gate_proj", "ffn_gate_shexp"),
    LAYER.copy("share_expert.up_proj", "ffn_up_shexp"),
    LAYER.copy("share_expert.down_proj", "ffn_down_shexp"),
];
