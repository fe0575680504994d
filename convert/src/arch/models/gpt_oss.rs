//! GPT-OSS: experts with biases, attention with sinks.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::{Architecture, Hparams, Keys, ModelType, PLAIN, View, class};

pub(super) static GPT_OSS: Architecture = Architecture {
    gguf: "gpt-oss",
    classes: &[class("GptOssForCausalLM")],
    rules: &[OWN, DECODER],
    hyperparameters,
    model_types: &[&GPT_OSS_TYPE],
    ..PLAIN
};

/// Gate and up rows alternate in one tensor. As floats it is stored with rows and columns exchanged; as MXFP4
/// blocks it is not.
const OWN: &[Rule] = &[
    LAYER.copy("post_attention_layernorm", "post_attention_norm"),
    LAYER.exact("self_attn.sinks", "attn_sinks.weight"),
    LAYER.copy("mlp.router", "ffn_gate_inp"),
    LAYER.exact_with(
        "mlp.experts.down_proj",
        "ffn_down_exps.weight",
        Transform::View(|_, v| Ok(v.swap(1, 2)), None),
    ),
    LAYER.exact("mlp.experts.down_proj_bias", "ffn_down_exps.bias"),
    LAYER.exact_with(
        "mlp.experts.gate_up_proj",
        "ffn_gate_exps.weight",
        Transform::View(|_, v| Ok(v.swap(1, 2).and_then(|v| v.every(1, 0, 2))), None),
    ),
    LAYER.exact_with(
        "mlp.experts.gate_up_proj",
        "ffn_up_exps.weight",
        Transform::View(|_, v| Ok(v.swap(1, 2).and_then(|v| v.every(1, 1, 2))), None),
    ),
    LAYER.exact("mlp.experts.down_proj_blocks", "ffn_down_exps.weight"),
    LAYER.exact_with(
        "mlp.experts.gate_up_proj_blocks",
        "ffn_gate_exps.weight",
        Transform::View(even, None),
    ),
    LAYER.exact_with(
        "mlp.experts.gate_up_proj_blocks",
        "ffn_up_exps.weight",
        Transform::View(odd, None),
    ),
    LAYER.exact_with(
        "mlp.experts.gate_up_proj_bias",
        "ffn_gate_exps.bias",
        Transform::View(even, None),
    ),
    LAYER.exact_with(
        "mlp.experts.gate_up_proj_bias",
        "ffn_up_exps.bias",
        Transform::View(odd, None),
    ),
];

/// Of the second dimension, every other place.
fn even(_: &Hparams, view: View) -> Result<Option<View>> {
    Ok(view.every(1, 0, 2))
}

/// See [`even`].
fn odd(_: &Hparams, view: View) -> Result<Option<View>> {
    Ok(view.every(1, 1, 2))
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
    keys.set("expert_feed_forward_length", hp.u32(&["intermediate_size"])?);
    Ok(())
}

pub(super) static GPT_OSS_TYPE: ModelType = ModelType::of("gpt_oss");
