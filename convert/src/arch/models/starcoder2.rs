//! StarCoder 2.

use crate::arch::rules::names::{DECODER, Rule, copy};
use crate::arch::{Activation, Architecture, Fixed, Graph, ModelType, PLAIN, class};

pub(super) static STARCODER2: Architecture = Architecture {
    gguf: "starcoder2",
    classes: &[class("Starcoder2ForCausalLM")],
    rules: &[OWN, DECODER],
    model_types: &[&STARCODER2_TYPE],
    graph: Graph::with(Activation::Gelu).fixing(&[("norm_type", Fixed::OneOf(&["layer_norm"]))]),
    ..PLAIN
};

const OWN: &[Rule] = &[
    copy("model.layers.{}.mlp.c_fc", "blk.{}.ffn_up"),
    copy("model.layers.{}.mlp.c_proj", "blk.{}.ffn_down"),
];

pub(super) static STARCODER2_TYPE: ModelType = ModelType::of("starcoder2");
