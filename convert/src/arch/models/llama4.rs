//! Llama 4, the text model.

use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::rules::{common, rope};
use crate::arch::{Architecture, Hparams, Keys, ModelType, PLAIN, class};

pub(super) static LLAMA4: Architecture = Architecture {
    gguf: "llama4",
    classes: &[
        class("Llama4ForCausalLM"),
        class("Llama4ForConditionalGeneration"),
    ],
    rules: &[OWN, DECODER],
    hyperparameters,
    generated: rope::llama3_factors,
    model_types: &[&LLAMA4_TEXT_TYPE],
    ..PLAIN
};

const OWN: &[Rule] = &[
    LAYER.copy("feed_forward.gate_proj", "ffn_gate"),
    LAYER.copy("feed_forward.up_proj", "ffn_up"),
    LAYER.copy("feed_forward.down_proj", "ffn_down"),
    LAYER.copy("feed_forward.router", "ffn_gate_inp"),
    LAYER.copy("feed_forward.shared_expert.gate_proj", "ffn_gate_shexp"),
    LAYER.copy("feed_forward.shared_expert.up_proj", "ffn_up_shexp"),
    LAYER.copy("feed_forward.shared_expert.down_proj", "ffn_down_shexp"),
    LAYER.exact_with(
        "feed_forward.experts.down_proj",
        "ffn_down_exps.weight",
        Transform::View(|_, v| Ok(v.swap(1, 2)), None),
    ),
    LAYER.exact_with(
        "feed_forward.experts.gate_up_proj",
        "ffn_gate_exps.weight",
        Transform::View(|_, v| Ok(v.half_of_stack(0)), None),
    ),
    LAYER.exact_with(
        "feed_forward.experts.gate_up_proj",
        "ffn_up_exps.weight",
        Transform::View(|_, v| Ok(v.half_of_stack(1)), None),
    ),
];

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    // What the class calls the intermediate size is that of an expert.
    keys.set("feed_forward_length", hp.u32(&["intermediate_size_mlp"])?);
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("rope.dimension_count", hp.head_dim()?);
    keys.set(
        "interleave_moe_layer_step",
        hp.u32(&["interleave_moe_layer_step"])?,
    );
    keys.set("expert_feed_forward_length", hp.u32(&["intermediate_size"])?);
    let full = |types: Vec<&str>| types.iter().all(|&t| t == "full_attention");
    if hp.strings("layer_types").is_some_and(full) {
        keys.set("attention.sliding_window", 0u32);
    }
    Ok(())
}

pub(super) static LLAMA4_TEXT_TYPE: ModelType = ModelType::of("llama4_text");
