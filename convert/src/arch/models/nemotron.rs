//! Nemotron 3 and 4, and Minitron.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, NORMS_ABOUT_ONE, Rule, exact};
use crate::arch::{Activation, Architecture, Graph, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static NEMOTRON: Architecture = Architecture {
    gguf: "nemotron",
    classes: &[class("NemotronForCausalLM")],
    rules: &[BIASES, NORMS_ABOUT_ONE, DECODER],
    hyperparameters,
    vocabulary: |_| {
        VocabRequest::new(&[VocabKind::SentencePiece])
            .and([VocabStep::Id("padding", 0), VocabStep::Id("unknown", 1)])
    },
    model_types: &[&NEMOTRON_TYPE],
    graph: Graph::with(Activation::Relu2),
    ..PLAIN
};

/// The norms' weights are stored as their distance from one, their biases are not.
const BIASES: &[Rule] = &[
    exact("model.norm.bias", "output_norm.bias"),
    LAYER.exact("input_layernorm.bias", "attn_norm.bias"),
    LAYER.exact("post_attention_layernorm.bias", "ffn_norm.bias"),
];

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set(
        "attention.layer_norm_epsilon",
        hp.f32(&["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"])?,
    );
    let factor = hp
        .partial_rotary_factor()?
        .ok_or_else(|| hp.error("expected a key partial_rotary_factor, found none".to_owned()))?;
    let rotated = (factor * f64::from(hp.u32(&["hidden_size", "n_embd"])?)) as u32;
    keys.set("rope.dimension_count", rotated / hp.heads()?.0);
    let scaling = hp.rope().get("factor").filter(|v| !v.is_null());
    let scaling = scaling.map(|v| hp.to_f32("factor", v)).transpose()?;
    match hp.opt_f32(&["factor"])?.filter(|&f| f != 0.0).or(scaling) {
        None => keys.set("rope.scaling.type", "none"),
        Some(factor) => {
            keys.set("rope.scaling.type", "linear");
            keys.set("rope.scaling.factor", factor);
        }
    }
    Ok(())
}

pub(super) static NEMOTRON_TYPE: ModelType = ModelType {
    name: "nemotron",
    derives_head_dim: true,
    ..ModelType::BLANK
};
