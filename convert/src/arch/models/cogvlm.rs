//! CogVLM, the text model: Llama with a second set of matrices for the places that hold an image.

use super::llama::{self, LLAMA};
use crate::arch::rules::names::{DECODER, Rule, copy};
use crate::arch::{Architecture, Graph, Hooks, class};

pub(super) static COGVLM: Architecture = Architecture {
    gguf: "cogvlm",
    classes: &[class("CogVLMForCausalLM")],
    rules: &[OWN, DECODER],
    hyperparameters: llama::hyperparameters,
    hooks: Hooks {
        canonical: |_, name| (!name.starts_with("model.vision.")).then_some(name),
        ..Hooks::NONE
    },
    model_types: &[],
    graph: Graph::SILU,
    ..LLAMA
};

/// The stock converter takes the matrices for images for those of the encoder, which is a file of its own, and leaves them
/// out; llama.cpp does not load the model without them.
const OWN: &[Rule] = &[
    copy(
        "model.layers.{}.self_attn.language_expert_query_key_value",
        "blk.{}.attn_qkv",
    ),
    copy(
        "model.layers.{}.self_attn.language_expert_dense",
        "blk.{}.attn_output",
    ),
    copy(
        "model.layers.{}.self_attn.vision_expert_query_key_value",
        "blk.{}.vis_attn_qkv",
    ),
    copy(
        "model.layers.{}.self_attn.vision_expert_dense",
        "blk.{}.vis_attn_output",
    ),
    copy("model.layers.{}.mlp.language_mlp.gate_proj", "blk.{}.ffn_gate"),
    copy("model.layers.{}.mlp.language_mlp.up_proj", "blk.{}.ffn_up"),
    copy("model.layers.{}.mlp.language_mlp.down_proj", "blk.{}.ffn_down"),
    copy("model.layers.{}.mlp.vision_mlp.gate_proj", "blk.{}.vis_gate"),
    copy("model.layers.{}.mlp.vision_mlp.up_proj", "blk.{}.vis_up"),
    copy("model.layers.{}.mlp.vision_mlp.down_proj", "blk.{}.vis_down"),
];
