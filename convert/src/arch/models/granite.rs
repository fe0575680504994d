//! Granite 3 and its mixtures of experts.

use super::llama;
use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule, Transform};
use crate::arch::rules::{rope, rows};
use crate::arch::{Architecture, Graph, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::VocabRequest;

pub(super) static GRANITE: Architecture = Architecture {
    gguf: "granite",
    classes: &[class("GraniteForCausalLM")],
    rules: &[PERMUTED, DECODER],
    hyperparameters: granite_keys,
    generated: rope::llama3_factors,
    vocabulary: VocabRequest::llama,
    model_types: &[&GRANITE_TYPE],
    graph: Graph::SILU.with_bias_keys(),
    ..PLAIN
};

pub(super) static GRANITE_MOE: Architecture = Architecture {
    gguf: "granitemoe",
    classes: &[
        class("GraniteMoeForCausalLM"),
        class("GraniteMoeSharedForCausalLM"),
    ],
    rules: &[EXPERTS, PERMUTED, DECODER],
    hyperparameters: granite_moe_keys,
    generated: rope::llama3_factors,
    vocabulary: VocabRequest::llama,
    model_types: &[&GRANITEMOE_TYPE, &GRANITEMOESHARED_TYPE],
    ..PLAIN
};

pub(super) const EXPERTS: &[Rule] = &[
    LAYER.copy("block_sparse_moe.router.layer", "ffn_gate_inp"),
    LAYER.rule(
        "block_sparse_moe.input_linear",
        "ffn_gate_exps",
        Transform::FirstHalf,
    ),
    LAYER.rule(
        "block_sparse_moe.input_linear",
        "ffn_up_exps",
        Transform::SecondHalf,
    ),
    LAYER.copy("block_sparse_moe.output_linear", "ffn_down_exps"),
    LAYER.rule(
        "shared_mlp.input_linear",
        "ffn_gate_shexp",
        Transform::Rows(rows::first_half),
    ),
    LAYER.rule(
        "shared_mlp.input_linear",
        "ffn_up_shexp",
        Transform::Rows(rows::second_half),
    ),
    LAYER.copy("shared_mlp.output_linear", "ffn_down_shexp"),
];

pub(super) fn granite_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    llama::hyperparameters(hp, keys)?;
    // Heads of another length than the hidden size suggests are not part of the architecture.
    keys.unset("attention.key_length");
    keys.unset("attention.value_length");
    keys.set("rope.dimension_count", hp.even_head_dim()?);
    for (suffix, key) in [
        ("attention.scale", "attention_multiplier"),
        ("embedding_scale", "embedding_multiplier"),
        ("residual_scale", "residual_multiplier"),
        ("logit_scale", "logits_scaling"),
    ] {
        keys.set_some(suffix, hp.opt_f32(&[key])?.filter(|&x| x != 0.0));
    }
    Ok(())
}

pub(super) fn granite_moe_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    granite_keys(hp, keys)?;
    let shared = hp.opt_u32(&["shared_intermediate_size"])?;
    keys.set_some("expert_shared_feed_forward_length", shared.filter(|&n| n > 0));
    Ok(())
}

pub(super) static GRANITE_TYPE: ModelType = ModelType::of("granite");

pub(super) static GRANITEMOE_TYPE: ModelType = ModelType::of("granitemoe");

pub(super) static GRANITEMOESHARED_TYPE: ModelType = ModelType::of("granitemoeshared");
