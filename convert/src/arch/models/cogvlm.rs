//! CogVLM, the text model: Llama with a second set of matrices for the places that hold an image.

use super::llama::{self, LLAMA};
use crate::arch::rules::names::{DECODER, LAYER, Rule};
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
    LAYER.copy("self_attn.language_expert_query_key_value", "attn_qkv"),
    LAYER.copy("self_attn.language_expert_dense", "attn_output"),
    LAYER.copy("self_attn.vision_expert_query_key_value", "vis_attn_qkv"),
    LAYER.copy("self_attn.vision_expert_dense", "vis_attn_output"),
    LAYER.copy("mlp.language_mlp.gate_proj", "ffn_gate"),
    LAYER.copy("mlp.language_mlp.up_proj", "ffn_up"),
    LAYER.copy("mlp.language_mlp.down_proj", "ffn_down"),
    LAYER.copy("mlp.vision_mlp.gate_proj", "vis_gate"),
    LAYER.copy("mlp.vision_mlp.up_proj", "vis_up"),
    LAYER.copy("mlp.vision_mlp.down_proj", "vis_down"),
];
