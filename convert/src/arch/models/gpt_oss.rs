//! GPT-OSS: experts with biases, attention with sinks.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, Rule, Transform, copy, exact};
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
    copy(
        "model.layers.{}.post_attention_layernorm",
        "blk.{}.post_attention_norm",
    ),
    exact(
        "model.layers.{}.self_attn.sinks",
        "blk.{}.attn_sinks.weight",
        Transform::Copy,
    ),
    copy("model.layers.{}.mlp.router", "blk.{}.ffn_gate_inp"),
    exact(
        "model.layers.{}.mlp.experts.down_proj",
        "blk.{}.ffn_down_exps.weight",
        Transform::View(|_, v| Ok(v.swap(1, 2)), None),
    ),
    exact(
        "model.layers.{}.mlp.experts.down_proj_bias",
        "blk.{}.ffn_down_exps.bias",
        Transform::Copy,
    ),
    exact(
        "model.layers.{}.mlp.experts.gate_up_proj",
        "blk.{}.ffn_gate_exps.weight",
        Transform::View(|_, v| Ok(v.swap(1, 2).and_then(|v| v.every(1, 0, 2))), None),
    ),
    exact(
        "model.layers.{}.mlp.experts.gate_up_proj",
        "blk.{}.ffn_up_exps.weight",
        Transform::View(|_, v| Ok(v.swap(1, 2).and_then(|v| v.every(1, 1, 2))), None),
    ),
    exact(
        "model.layers.{}.mlp.experts.down_proj_blocks",
        "blk.{}.ffn_down_exps.weight",
        Transform::Copy,
    ),
    exact(
        "model.layers.{}.mlp.experts.gate_up_proj_blocks",
        "blk.{}.ffn_gate_exps.weight",
        Transform::View(even, None),
    ),
    exact(
        "model.layers.{}.mlp.experts.gate_up_proj_blocks",
        "blk.{}.ffn_up_exps.weight",
        Transform::View(odd, None),
    ),
    exact(
        "model.layers.{}.mlp.experts.gate_up_proj_bias",
        "blk.{}.ffn_gate_exps.bias",
        Transform::View(even, None),
    ),
    exact(
        "model.layers.{}.mlp.experts.gate_up_proj_bias",
        "blk.{}.ffn_up_exps.bias",
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
