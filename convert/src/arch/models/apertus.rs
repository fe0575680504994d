//! Apertus: Llama with norms of query and key heads and an activation (xIELU) whose parameters are learned.

use super::llama;
use crate::Result;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule, skip};
use crate::arch::{Activation, Architecture, Graph, Hparams, Keys, ModelType, class};

pub(super) static APERTUS: Architecture = Architecture {
    gguf: "apertus",
    classes: &[class("ApertusForCausalLM")],
    rules: &[OWN, HEAD_NORMS, DECODER],
    early: activation_keys,
    model_types: &[&APERTUS_TYPE],
    graph: Graph::with(Activation::Xielu),
    ..llama::LLAMA
};

const OWN: &[Rule] = &[
    LAYER.copy("attention_layernorm", "attn_norm"),
    LAYER.copy("feedforward_layernorm", "ffn_norm"),
    // These become keys.
    skip("model.layers.{}.mlp.act_fn.alpha_n"),
    skip("model.layers.{}.mlp.act_fn.alpha_p"),
    skip("model.layers.{}.mlp.act_fn.beta"),
    skip("model.layers.{}.mlp.act_fn.eps"),
];

/// Each key is noted with the last of its tensors, in the checkpoint's order.
fn activation_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let mut found = Vec::new();
    for name in ["alpha_n", "alpha_p", "beta", "eps"] {
        let mut values = Vec::new();
        let mut last = None;
        for i in 0..hp.block_count() {
            let tensor = format!("model.layers.{i}.mlp.act_fn.{name}");
            last = last.max((keys.place)(&tensor));
            values.extend(keys.number(&tensor)?);
        }
        if values.len() == hp.block_count() as usize {
            found.push((last, name, values));
        }
    }
    found.sort_by_key(|&(last, ..)| last);
    for (_, name, values) in found {
        keys.set_global(&format!("xielu.{name}"), values);
    }
    Ok(())
}

pub(super) static APERTUS_TYPE: ModelType = ModelType::of("apertus");
