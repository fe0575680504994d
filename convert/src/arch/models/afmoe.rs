//! Trinity (AFMoE): a mixture of experts with gates of what attention mixes, and norms on both sides of each half.

use super::llama;
use crate::arch::rules::experts::{EXPERTS_GATES_FIRST, SHARED_EXPERTS};
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule};
use crate::arch::rules::rope;
use crate::arch::{Architecture, Fixed, Graph, class};

pub(super) static AFMOE: Architecture = Architecture {
    gguf: "afmoe",
    classes: &[class("AfmoeForCausalLM")],
    rules: &[OWN, DECODER, HEAD_NORMS, EXPERTS_GATES_FIRST, SHARED_EXPERTS],
    hyperparameters: |hp, keys| {
        llama::hyperparameters(hp, keys)?;
        keys.set_some("expert_shared_count", hp.opt_u32(&["num_shared_experts"])?);
        keys.set_some(
            "expert_feed_forward_length",
            hp.opt_u32(&["moe_intermediate_size"])?,
        );
        keys.set_some("leading_dense_block_count", hp.opt_u32(&["num_dense_layers"])?);
        keys.set_some("expert_weights_norm", hp.stated_bool("route_norm"));
        keys.set_some("expert_weights_scale", hp.opt_f32(&["route_scale"])?);
        keys.set_some("attention.sliding_window", hp.opt_u32(&["sliding_window"])?);
        Ok(())
    },
    generated: rope::without_llama3_factors,
    model_types: &[],
    // Its embeddings are scaled in any case.
    graph: Graph::SILU.fixing(&[("mup_enabled", Fixed::Is(true))]),
    ..llama::LLAMA
};

const OWN: &[Rule] = &[
    LAYER.copy("post_attention_layernorm", "post_attention_norm"),
    LAYER.copy("pre_mlp_layernorm", "ffn_norm"),
    LAYER.copy("post_mlp_layernorm", "post_ffw_norm"),
    LAYER.copy("self_attn.gate_proj", "attn_gate"),
    LAYER.copy("mlp.router.gate", "ffn_gate_inp"),
    LAYER.exact("mlp.expert_bias", "exp_probs_b.bias"),
];
