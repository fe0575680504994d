//! OLMo, OLMo 2 and 3, and OLMoE.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{self, EXPERTS};
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, PERMUTED, Rule};
use crate::arch::{Architecture, Graph, Hparams, Keys, ModelType, PLAIN, class};

pub(super) static OLMO: Architecture = Architecture {
    gguf: "olmo",
    classes: &[class("OlmoForCausalLM"), class("OLMoForCausalLM")],
    rules: &[PERMUTED, DECODER],
    hyperparameters: olmo_keys,
    model_types: &[&OLMO_TYPE],
    ..PLAIN
};

pub(super) static OLMO2: Architecture = Architecture {
    gguf: "olmo2",
    classes: &[class("Olmo2ForCausalLM"), class("Olmo3ForCausalLM")],
    rules: &[POST_NORMS, HEAD_NORMS, DECODER],
    hyperparameters: olmo2_keys,
    model_types: &[&OLMO2_TYPE, &OLMO3_TYPE],
    ..PLAIN
};

pub(super) static OLMOE: Architecture = Architecture {
    gguf: "olmoe",
    classes: &[class("OlmoeForCausalLM")],
    rules: &[EXPERTS, HEAD_NORMS, DECODER],
    hyperparameters: olmoe_keys,
    model_types: &[&OLMOE_TYPE],
    graph: Graph::SILU.fixing(experts::WEIGHTS_AS_THEY_ARE),
    ..PLAIN
};

pub(super) const POST_NORMS: &[Rule] = &[
    LAYER.copy("post_attention_layernorm", "post_attention_norm"),
    LAYER.copy("post_feedforward_layernorm", "post_ffw_norm"),
];

fn olmo_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("attention.layer_norm_epsilon", 1e-5f32);
    keys.set_some("attention.clamp_kqv", hp.opt_f32(&["clip_qkv"])?);
    Ok(())
}

/// Every fourth layer sees everything where OLMo 3 does not say which.
const PERIOD: u32 = 4;

fn olmo2_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    if let Some(window) = hp.opt_u32(&["sliding_window"])? {
        keys.set("attention.sliding_window", window);
        let usual = || (1..=hp.block_count()).map(|i| i % PERIOD != 0).collect();
        keys.set(
            "attention.sliding_window_pattern",
            hp.sliding_layers().unwrap_or_else(usual),
        );
    }
    Ok(())
}

fn olmoe_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("attention.layer_norm_rms_epsilon", 1e-5f32);
    Ok(())
}

pub(super) static OLMO_TYPE: ModelType = ModelType::of("olmo");

pub(super) static OLMO2_TYPE: ModelType = ModelType::of("olmo2");

pub(super) static OLMO3_TYPE: ModelType = ModelType::of("olmo3");

pub(super) static OLMOE_TYPE: ModelType = ModelType::of("olmoe");
