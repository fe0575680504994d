//! GroveMoE, whose groups of experts have an expert each, and SmallThinker, whose router sees a layer's input.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{self, EXPERTS};
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule, Transform, skip};
use crate::arch::{Activation, Architecture, Graph, Hparams, PLAIN, class};

/// Experts of a group, and the factor on what a group's expert makes, as the published code has them.
const MEMBERS: u32 = 2;
const SCALE: f32 = 0.05;
/// The width of a group's expert where the configuration does not give a head's length.
const WIDTH: u32 = 128;

pub(super) static GROVEMOE: Architecture = Architecture {
    gguf: "grovemoe",
    classes: &[
        class("GroveMoeForCausalLM"),
        class("modeling_grove_moe.GroveMoeForCausalLM"),
    ],
    rules: &[ADJUGATES, DECODER, HEAD_NORMS, EXPERTS],
    graph: Graph::SILU.fixing(experts::WEIGHTS_ADD_UP),
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set_some(
            "expert_feed_forward_length",
            hp.opt_u32(&["moe_intermediate_size"])?,
        );
        let width = hp.opt_u32(&["head_dim"])?.filter(|&n| n > 0).unwrap_or(WIDTH);
        keys.set("expert_chunk_feed_forward_length", width);
        keys.set("experts_per_group", MEMBERS);
        keys.set("expert_group_scale", SCALE);
        Ok(())
    },
    ..PLAIN
};

fn groups(hp: &Hparams) -> Result<u32> {
    Ok(hp.u32(&["num_local_experts", "num_experts"])? / MEMBERS)
}

const ADJUGATES: &[Rule] = &[
    skip("model.layers.{}.mlp.gate.expert_bias"),
    skip("model.layers.{}.mlp.expert_bias"),
    LAYER.rule(
        "mlp.chunk_experts.{e}.down_proj",
        "ffn_down_chexps",
        Transform::NumberedTogether(groups),
    ),
    LAYER.rule(
        "mlp.chunk_experts.{e}.gate_proj",
        "ffn_gate_chexps",
        Transform::NumberedTogether(groups),
    ),
    LAYER.rule(
        "mlp.chunk_experts.{e}.up_proj",
        "ffn_up_chexps",
        Transform::NumberedTogether(groups),
    ),
];

pub(super) static SMALLTHINKER: Architecture = Architecture {
    gguf: "smallthinker",
    classes: &[class("SmallThinkerForCausalLM")],
    rules: &[DECODER, PRIMARY],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set_some("expert_count", hp.opt_u32(&["moe_num_primary_experts"])?);
        keys.set_some(
            "expert_used_count",
            hp.opt_u32(&["moe_num_active_primary_experts"])?,
        );
        if let Some(width) = hp.opt_u32(&["moe_ffn_hidden_size"])? {
            keys.set("expert_feed_forward_length", width);
            keys.set("feed_forward_length", width);
        }
        let softmax = hp.opt_bool("moe_primary_router_apply_softmax") == Some(true);
        keys.set("expert_gating_func", if softmax { 1u32 } else { 2 });
        let slides = |layout: &serde_json::Value| layout.as_u64() != Some(0);
        let layout = hp.find(&["sliding_window_layout"]).and_then(|l| l.as_array());
        if layout.is_some_and(|layout| layout.iter().any(slides)) {
            let window = hp.opt_u32(&["sliding_window_size"])?;
            keys.set_some("attention.sliding_window", window.filter(|&n| n > 0));
        }
        Ok(())
    },
    graph: Graph::with(Activation::Any),
    ..PLAIN
};

const PRIMARY: &[Rule] = &[
    LAYER.copy("block_sparse_moe.primary_router", "ffn_gate_inp"),
    LAYER.rule(
        "block_sparse_moe.experts.{e}.down",
        "ffn_down_exps",
        Transform::Expert,
    ),
    LAYER.rule(
        "block_sparse_moe.experts.{e}.gate",
        "ffn_gate_exps",
        Transform::Expert,
    ),
    LAYER.rule(
        "block_sparse_moe.experts.{e}.up",
        "ffn_up_exps",
        Transform::Expert,
    ),
];
