//! Hunyuan 3: a mixture of experts, with heads that predict further tokens as blocks after the others.

use crate::arch::rules::common;
use crate::arch::rules::experts::{EXPERTS, PREDICTING, SHARED_EXPERTS};
use crate::arch::rules::hooks::predicting_layers;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule};
use crate::arch::{Architecture, Hooks, PLAIN, class};

pub(super) static HY_V3: Architecture = Architecture {
    gguf: "hy_v3",
    classes: &[class("HYV3ForCausalLM")],
    rules: &[OWN, DECODER, HEAD_NORMS, EXPERTS, SHARED_EXPERTS, PREDICTING],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
        let shared = hp.opt_u32(&["num_shared_experts"])?.unwrap_or(1);
        keys.set(
            "expert_shared_feed_forward_length",
            hp.times(shared, &["moe_intermediate_size"])?,
        );
        keys.set("expert_weights_norm", hp.opt_bool("route_norm").unwrap_or(true));
        let scale = hp.opt_f32(&["router_scaling_factor"])?;
        keys.set("expert_weights_scale", scale.unwrap_or(1.0));
        // The logistic function.
        keys.set("expert_gating_func", 2u32);
        let predicting = hp.opt_u32(&["num_nextn_predict_layers"])?;
        keys.set_some("nextn_predict_layers", predicting.filter(|&n| n > 0));
        Ok(())
    },
    hooks: Hooks {
        more_blocks: predicting_layers,
        ..Hooks::NONE
    },
    ..PLAIN
};

const OWN: &[Rule] = &[
    LAYER.copy("mlp.router.gate", "ffn_gate_inp"),
    LAYER.exact("mlp.expert_bias", "exp_probs_b"),
    LAYER.copy("mlp.shared_mlp.gate_proj", "ffn_gate_shexp"),
    LAYER.copy("mlp.shared_mlp.up_proj", "ffn_up_shexp"),
    LAYER.copy("mlp.shared_mlp.down_proj", "ffn_down_shexp"),
    LAYER.copy("final_layernorm", "nextn.shared_head_norm"),
];
