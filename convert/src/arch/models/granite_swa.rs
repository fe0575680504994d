//! Granite whose layers see a window or everything, dense and with experts.

use super::granite::{self, GRANITE};
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule, Transform};
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
    if let Some(rotates) = rotating_layers(hp)? {
        keys.set("attention.rope_pattern", rotates);
    }
    if let Some(base) = layer_base(hp)? {
        keys.set("rope.freq_base", base);
    }
    let shared = hp.opt_u32(&["shared_intermediate_size"])?;
    keys.set_some("expert_shared_feed_forward_length", shared.filter(|&n| n > 0));
    Ok(())
}

/// Bases of the layers' rotations; zero for a layer without. Transformers 5 reads this list alone.
const BASES: &str = "layer_rope_theta";
/// The same as flags, in configurations that are older than transformers' class.
const FLAGS: &str = "no_rope_layers";

fn bases(hp: &Hparams) -> Result<Option<Vec<f32>>> {
    let Some(bases) = hp.find(&[BASES]).filter(|v| !v.is_null()) else {
        return Ok(None);
    };
    let bases = common::list(hp, BASES, bases)?;
    bases
        .iter()
        .map(|v| hp.to_f32(BASES, v))
        .collect::<Result<_>>()
        .map(Some)
}

/// Which layers rotate; none where the configuration does not say.
fn rotating_layers(hp: &Hparams) -> Result<Option<Vec<bool>>> {
    let flags = match hp.find(&[FLAGS]).filter(|v| !v.is_null()) {
        Some(flags) => {
            let list = common::list(hp, FLAGS, flags)?.iter();
            Some(list.map(|n| *n != 0 && *n != false).collect::<Vec<bool>>())
        }
        None => None,
    };
    let Some(bases) = bases(hp)? else { return Ok(flags) };
    let rotates: Vec<bool> = bases.iter().map(|&base| base != 0.0).collect();
    match flags {
        Some(flags) if flags != rotates => Err(hp.error(format!(
            "{BASES} and {FLAGS}: expected the same layers to rotate, found {bases:?} and {flags:?}"
        ))),
        None if rotates.iter().all(|&rotates| rotates) => Ok(None),
        _ => Ok(Some(rotates)),
    }
}

/// The one base of all layers that rotate.
fn layer_base(hp: &Hparams) -> Result<Option<f32>> {
    let mut bases = bases(hp)?.unwrap_or_default();
    bases.retain(|&base| base != 0.0);
    match bases.first() {
        Some(first) if bases.iter().any(|base| base != first) => Err(hp.error(format!(
            "{BASES}: expected one base for all layers that rotate, as the graph of granite_swa has it; found {bases:?}"
        ))),
        first => Ok(first.copied()),
    }
}

const SINKS: &[Rule] = &[LAYER.exact("self_attn.sinks", "attn_sinks.weight")];

/// Gates and the rest stay in one matrix.
const EXPERTS: &[Rule] = &[
    LAYER.copy("block_sparse_moe.router", "ffn_gate_inp"),
    LAYER.copy("block_sparse_moe.router.layer", "ffn_gate_inp"),
    LAYER.rule(
        "block_sparse_moe.experts.gate_up_proj",
        "ffn_gate_up_exps",
        Transform::Stack,
    ),
    LAYER.rule(
        "block_sparse_moe.experts.down_proj",
        "ffn_down_exps",
        Transform::Stack,
    ),
    LAYER.copy("block_sparse_moe.input_linear", "ffn_gate_up_exps"),
    LAYER.copy("block_sparse_moe.output_linear", "ffn_down_exps"),
    LAYER.copy("shared_mlp.input_linear", "ffn_up_shexp"),
    LAYER.copy("shared_mlp.output_linear", "ffn_down_shexp"),
];
