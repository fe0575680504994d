//! Seed-OSS.

use crate::arch::rules::names::{DECODER, Rule, copy};
use crate::arch::{Architecture, Default, ModelType, PLAIN, class};

pub(super) static SEED_OSS: Architecture = Architecture {
    gguf: "seed_oss",
    classes: &[class("SeedOssForCausalLM")],
    rules: &[OWN, DECODER],
    model_types: &[&SEED_OSS_TYPE],
    ..PLAIN
};

const OWN: &[Rule] = &[copy(
    "model.layers.{}.post_attention_layernorm",
    "blk.{}.post_attention_norm",
)];

pub(super) static SEED_OSS_TYPE: ModelType = ModelType {
    name: "seed_oss",
    defaults: &[
        ("vocab_size", Default::Int(155136)),
        ("hidden_size", Default::Int(4096)),
        ("intermediate_size", Default::Int(27648)),
        ("num_hidden_layers", Default::Int(64)),
        ("num_attention_heads", Default::Int(80)),
        ("num_key_value_heads", Default::Int(8)),
        ("head_dim", Default::Int(128)),
        ("max_position_embeddings", Default::Int(524288)),
        ("rms_norm_eps", Default::Float(1e-6)),
    ],
    ..ModelType::BLANK
};
