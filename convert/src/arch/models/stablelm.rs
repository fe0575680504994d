//! StableLM and StableLM 2.

use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::{Architecture, Hparams, Keys, ModelType, PLAIN, class};

pub(super) static STABLELM: Architecture = Architecture {
    gguf: "stablelm",
    classes: &[
        class("StableLmForCausalLM"),
        class("StableLMEpochForCausalLM"),
        class("LlavaStableLMEpochForCausalLM"),
    ],
    rules: &[OWN, DECODER],
    hyperparameters,
    model_types: &[&STABLELM_TYPE],
    ..PLAIN
};

const OWN: &[Rule] = &[
    LAYER.rule(
        "self_attn.q_layernorm.norms.{e}",
        "attn_q_norm",
        Transform::Numbered(|hp| Ok(hp.heads()?.0)),
    ),
    LAYER.rule(
        "self_attn.k_layernorm.norms.{e}",
        "attn_k_norm",
        Transform::Numbered(|hp| Ok(hp.heads()?.1)),
    ),
];

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("context_length", hp.u32(&["max_position_embeddings"])?);
    keys.set("embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("block_count", hp.block_count());
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    let factor = hp
        .partial_rotary_factor()?
        .ok_or_else(|| hp.error("expected a key partial_rotary_factor, found none".to_owned()))?;
    keys.set(
        "rope.dimension_count",
        (factor * f64::from(hp.even_head_dim()?)) as u32,
    );
    let (heads, kv) = hp.heads()?;
    keys.set("attention.head_count", heads);
    keys.set("attention.head_count_kv", kv);
    keys.set(
        "use_parallel_residual",
        hp.opt_bool("use_parallel_residual").unwrap_or(true),
    );
    keys.set(
        "attention.layer_norm_epsilon",
        hp.f32(&["layer_norm_eps", "norm_eps"])?,
    );
    keys.set_file_type();
    Ok(())
}

pub(super) static STABLELM_TYPE: ModelType = ModelType::of("stablelm");
