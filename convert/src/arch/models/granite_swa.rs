//! Granite whose layers see a window or everything, dense and with experts.

use super::granite::{self, GRANITE};
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, PERMUTED, Rule, Transform, copy, exact, rule};
use crate::arch::{Architecture, Graph, Hparams, Keys, class};

pub(super) static GRANITE_SWA: Architecture = Architecture {
    gguf: "granite_swa",
    classes: &[class("GraniteSWAForCausalLM"), class("GraniteMoeSWAForCausalLM")],
    rules: &[SINKS, PERMUTED, EXPERTS, DECODER],
    hyperparameters,
    model_types: &[],
    graph: Graph::SILU,
    ..GRANITE
};

/// The window of models that do not say.
const WINDOW: u32 = 128;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    granite::granite_keys(hp, keys)?;
    let window = hp.opt_u32(&["sliding_window"])?;
    keys.set("attention.sliding_window", window.unwrap_or(WINDOW));
    let slides = match hp.sliding_layers() {
        Some(layers) if !layers.is_empty() => layers,
        _ => (0..hp.block_count()).map(|i| i % 4 != 0).collect(),
    };
    keys.set("attention.sliding_window_pattern", slides);
    if let Some(rotates) = hp.find(&["no_rope_layers"]) {
        let list = common::list(hp, "no_rope_layers", rotates)?.iter();
        let rotates: Vec<bool> = list.map(|n| *n != 0 && *n != false).collect();
        keys.set("attention.rope_pattern", rotates);
    }
    let shared = hp.opt_u32(&["shared_intermediate_size"])?;
    keys.set_some("expert_shared_feed_forward_length", shared.filter(|&n| n > 0));
    Ok(())
}

const SINKS: &[Rule] = &[exact(
    "model.layers.{}.self_attn.sinks",
    "blk.{}.attn_sinks.weight",
    Transform::Copy,
)];

/// Gates and the rest stay in one matrix.
const EXPERTS: &[Rule] = &[
    copy("model.layers.{}.block_sparse_moe.router", "blk.{}.ffn_gate_inp"),
    copy(
        "model.layers.{}.block_sparse_moe.router.layer",
        "blk.{}.ffn_gate_inp",
    ),
    rule(
        "model.layers.{}.block_sparse_moe.experts.gate_up_proj",
        "blk.{}.ffn_gate_up_exps",
        Transform::Stack,
    ),
    rule(
        "model.layers.{}.block_sparse_moe.experts.down_proj",
        "blk.{}.ffn_down_exps",
        Transform::Stack,
    ),
    copy(
        "model.layers.{}.block_sparse_moe.input_linear",
        "blk.{}.ffn_gate_up_exps",
    ),
    copy(
        "model.layers.{}.block_sparse_moe.output_linear",
        "blk.{}.ffn_down_exps",
    ),
    copy("model.layers.{}.shared_mlp.input_linear", "blk.{}.ffn_up_shexp"),
    copy(
        "model.layers.{}.shared_mlp.output_linear",
        "blk.{}.ffn_down_shexp",
    ),
];
