//! StarCoder 2.

use crate::arch::rules::names::{DECODER, LAYER, Rule};
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
    LAYER.copy("mlp.c_fc", "ffn_up"),
    LAYER.copy("mlp.c_proj", "ffn_down"),
];

pub(super) static STARCODER2_TYPE: ModelType = ModelType::of("starcoder2");
