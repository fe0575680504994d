//! StarCoder 2.

use crate::arch::rules::names::{DECODER, Rule, copy};
use crate::arch::{Activation, Architecture, Default, Fixed, Graph, ModelType, PLAIN, class};

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

pub(super) static STARCODER2_TYPE: ModelType = ModelType {
    name: "starcoder2",
    defaults: &[
        ("vocab_size", Default::Int(49152)),
        ("hidden_size", Default::Int(3072)),
        ("intermediate_size", Default::Int(12288)),
        ("num_hidden_layers", Default::Int(30)),
        ("num_attention_heads", Default::Int(24)),
        ("num_key_value_heads", Default::Int(2)),
        ("max_position_embeddings", Default::Int(4096)),
        ("norm_epsilon", Default::Float(1e-5)),
        ("sliding_window", Default::Null),
    ],
    ..ModelType::BLANK
};
