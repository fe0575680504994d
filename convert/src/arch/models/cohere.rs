//! Command-R, Aya and Command-R7B.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{EXPERTS, PREDICTING, SHARED_EXPERTS};
use crate::arch::rules::hooks::predicting_layers;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, NO_OUTPUT};
use crate::arch::{Architecture, Fixed, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, class};

pub(super) static COMMAND_R: Architecture = Architecture {
    gguf: "command-r",
    classes: &[class("CohereForCausalLM")],
    rules: &[NO_OUTPUT, DECODER, HEAD_NORMS],
    hyperparameters: command_r_keys,
    model_types: &[&COHERE_TYPE],
    graph: Graph::SILU.fixing(&[
        ("use_parallel_block", Fixed::Is(true)),
        ("use_gated_activation", Fixed::Is(true)),
    ]),
    ..PLAIN
};

pub(super) static COHERE2: Architecture = Architecture {
    gguf: "cohere2",
    classes: &[class("Cohere2ForCausalLM")],
    rules: &[NO_OUTPUT, DECODER],
    hyperparameters: cohere2_keys,
    model_types: &[&COHERE2_TYPE],
    graph: Graph::SILU.fixing(&[
        ("use_parallel_block", Fixed::Is(true)),
        ("use_gated_activation", Fixed::Is(true)),
    ]),
    ..PLAIN
};

/// North Mini Code: a mixture of experts, with heads that predict further tokens as blocks after the others.
pub(super) static COHERE2_MOE: Architecture = Architecture {
    gguf: "cohere2moe",
    classes: &[class("Cohere2MoeForCausalLM")],
    rules: &[DECODER, EXPERTS, SHARED_EXPERTS, PREDICTING],
    hyperparameters: cohere2_moe_keys,
    hooks: Hooks {
        more_blocks: predicting_layers,
        ..Hooks::NONE
    },
    graph: Graph::SILU.fixing(&[("shared_expert_combination_strategy", Fixed::OneOf(&["average"]))]),
    ..PLAIN
};

fn cohere2_moe_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("logit_scale", hp.f32(&["logit_scale"])?);
    keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
    let slides = hp
        .sliding_layers()
        .ok_or_else(|| hp.error("key layer_types: expected a list, found none".to_owned()))?;
    keys.set("attention.sliding_window_pattern", slides);
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("expert_feed_forward_length", hp.u32(&["intermediate_size"])?);
    let dense = match hp.strings("mlp_layer_types") {
        Some(types) => types.iter().take_while(|kind| **kind == "dense").count() as u32,
        None => hp.opt_u32(&["first_k_dense_replace"])?.unwrap_or(0),
    };
    keys.set("leading_dense_block_count", dense);
    keys.set(
        "expert_weights_norm",
        hp.opt_bool("norm_topk_prob").unwrap_or(false),
    );
    let shared = hp.opt_u32(&["num_shared_experts"])?.unwrap_or(0);
    if shared > 0 {
        keys.set("expert_shared_count", shared);
        keys.set(
            "expert_shared_feed_forward_length",
            hp.times(shared, &["intermediate_size"])?,
        );
    }
    let predicting = hp.opt_u32(&["num_nextn_predict_layers"])?;
    keys.set_some("nextn_predict_layers", predicting.filter(|&n| n > 0));
    keys.set("rope.dimension_count", hp.u32(&["head_dim"])?);
    keys.set("rope.scaling.type", "none");
    Ok(())
}

fn command_r_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    // What the first models were trained for stands beside what their configuration limits them to.
    let context = hp.opt_u32(&["model_max_length", "max_position_embeddings"])?;
    common::text_model_of(hp, context, keys)?;
    keys.set("logit_scale", hp.f32(&["logit_scale"])?);
    keys.set("rope.scaling.type", "none");
    Ok(())
}

fn cohere2_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("logit_scale", hp.f32(&["logit_scale"])?);
    keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    let factor = hp.opt_f64(&["rotary_pct"])?.unwrap_or(1.0);
    keys.set(
        "rope.dimension_count",
        (factor * f64::from(hp.even_head_dim()?)) as u32,
    );
    keys.set("rope.scaling.type", "none");
    Ok(())
}

pub(super) static COHERE_TYPE: ModelType = ModelType::of("cohere");

pub(super) static COHERE2_TYPE: ModelType = ModelType {
    name: "cohere2",
    derives_head_dim: true,
    ..ModelType::BLANK
};
