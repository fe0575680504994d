//! The mixture-of-experts models of Qwen2 and Qwen3.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{self, EXPERTS, STACKED_EXPERTS};
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule};
use crate::arch::{Architecture, Graph, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static QWEN2MOE: Architecture = Architecture {
    gguf: "qwen2moe",
    classes: &[class("Qwen2MoeForCausalLM")],
    rules: &[DECODER, HEAD_NORMS, EXPERTS, STACKED_EXPERTS, SHARED_EXPERT],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]),
    model_types: &[&QWEN2MOE_TYPE],
    graph: Graph::SILU.fixing(experts::WEIGHTS_AS_THEY_ARE),
    ..PLAIN
};

pub(super) static QWEN3MOE: Architecture = Architecture {
    gguf: "qwen3moe",
    classes: &[class("Qwen3MoeForCausalLM")],
    rules: &[DECODER, HEAD_NORMS, EXPERTS, STACKED_EXPERTS, SHARED_EXPERT],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]),
    model_types: &[&QWEN3MOE_TYPE],
    graph: Graph::SILU.fixing(experts::WEIGHTS_ADD_UP),
    ..PLAIN
};

/// Shared experts, which every token goes through beside its own, and their gate.
pub(super) const SHARED_EXPERT: &[Rule] = &[
    LAYER.copy("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
    LAYER.copy("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    LAYER.copy("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    LAYER.copy("mlp.shared_expert.down_proj", "ffn_down_shexp"),
];

pub(super) fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set_some(
        "expert_feed_forward_length",
        hp.opt_u32(&["moe_intermediate_size"])?,
    );
    keys.set_some(
        "expert_shared_feed_forward_length",
        hp.opt_u32(&["shared_expert_intermediate_size"])?,
    );
    Ok(())
}

pub(super) static QWEN2MOE_TYPE: ModelType = ModelType::of("qwen2_moe");

pub(super) static QWEN3MOE_TYPE: ModelType = ModelType {
    name: "qwen3_moe",
    renames: &[("num_experts", "num_local_experts")],
    ..ModelType::BLANK
};
