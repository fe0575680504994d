//! Kimi K3: Kimi Linear's two kinds of attention with full gates, attention over what earlier layers left behind, and
//! experts in a shorter space.

use gguf::Value as GgufValue;
use serde_json::Value;

use super::deepseek::LATENT;
use super::deepseek4::template_note;
use super::glm5_next::{DECAYS, delta_number, latent_lengths, lower_bound, needed_flag};
use super::kimi_linear::{DELTA, SHARED};
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::BLOCK_SPARSE_EXPERTS;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform, exact_with};
use crate::arch::{Activation, Architecture, Fixed, Graph, Hooks, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{Tiktoken, VocabKind, VocabRequest};

pub(super) static KIMI_K3: Architecture = Architecture {
    gguf: "kimi-k3",
    classes: &[class("KimiK3ForConditionalGeneration")],
    rules: &[OWN, DECAYS, LATENT, DELTA, DECODER, BLOCK_SPARSE_EXPERTS, SHARED],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe, VocabKind::Tiktoken(Tiktoken::Kimi)]),
    hooks: Hooks {
        canonical,
        packed_by_layer: true,
        late,
        notes: |hp| Ok(template_note(hp, "Kimi-K3.jinja")),
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Any).fixing(&[
        ("mla_use_nope", Fixed::Is(true)),
        ("hidden_act", Fixed::OneOf(&["situ"])),
        ("moe_router_activation_func", Fixed::OneOf(&["sigmoid"])),
    ]),
    ..PLAIN
};

const OWN: &[Rule] = &[
    LAYER.exact_with(
        "self_attention_res_norm.weight",
        "attn_res_score.weight",
        Transform::Factor(0),
    ),
    LAYER.exact_with(
        "self_attention_res_proj.weight",
        "attn_res_score.weight",
        Transform::Factor(1),
    ),
    LAYER.exact_with(
        "mlp_res_norm.weight",
        "ffn_res_score.weight",
        Transform::Factor(0),
    ),
    LAYER.exact_with(
        "mlp_res_proj.weight",
        "ffn_res_score.weight",
        Transform::Factor(1),
    ),
    exact_with(
        "model.output_attn_res_norm.weight",
        "output_res_score.weight",
        Transform::Factor(0),
    ),
    exact_with(
        "model.output_attn_res_proj.weight",
        "output_res_score.weight",
        Transform::Factor(1),
    ),
    LAYER.copy("self_attn.delta_gate", "ssm_g"),
    LAYER.copy("self_attn.output_gate", "attn_gate"),
    LAYER.copy("block_sparse_moe.routed_expert_down_proj", "ffn_routed_down"),
    LAYER.copy("block_sparse_moe.routed_expert_up_proj", "ffn_routed_up"),
    LAYER.copy("block_sparse_moe.routed_expert_norm", "ffn_routed_norm"),
];

/// Whether a layer, which are numbered from one there, has latent attention.
fn is_latent(hp: &Hparams, layer: u32) -> Result<bool> {
    let full = hp.inside("linear_attn_config", "full_attn_layers")?;
    let full = full.as_array().ok_or_else(|| {
        hp.error("linear_attn_config: expected a list of full_attn_layers, found another value".to_owned())
    })?;
    Ok(layer
        .checked_add(1)
        .is_some_and(|n| full.contains(&Value::from(n))))
}

/// Without images; the gates, which both kinds of attention have under one name, under names of their own.
fn canonical(hp: &Hparams, name: String) -> Option<String> {
    if name.starts_with("vision_tower.") || name.starts_with("mm_projector.") {
        return None;
    }
    let layer = name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.strip_suffix(".self_attn.g_proj.weight"))
        .and_then(|layer| layer.parse::<u32>().ok());
    match layer.map(|layer| is_latent(hp, layer)) {
        Some(Ok(true)) => Some(name.replace("g_proj", "output_gate")),
        Some(Ok(false)) => Some(name.replace("g_proj", "delta_gate")),
        _ => Some(name),
    }
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if !needed_flag(hp, "mla_use_nope")? {
        return Err(
            hp.error("mla_use_nope: expected true, as the graph of kimi-k3 rotates nothing".to_owned())
        );
    }
    for (key, expected) in [("moe_router_activation_func", "sigmoid"), ("hidden_act", "situ")] {
        if hp.opt_str(&[key]) != Some(expected) {
            return Err(hp.error(format!(
                "{key}: expected {expected:?}, which the graph of kimi-k3 has fixed"
            )));
        }
    }
    common::text_model(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    let heads = (0..hp.u32(&["num_hidden_layers"])?)
        .map(|layer| Ok(u32::from(is_latent(hp, layer)?)))
        .collect::<Result<Vec<u32>>>()?;
    keys.set("attention.head_count_kv", common::numbers(heads));
    keys.set("ssm.conv_kernel", delta_number(hp, "short_conv_kernel_size")?);
    keys.set("kda.head_dim", delta_number(hp, "head_dim")?);
    lower_bound(hp, keys)?;
    keys.set_some("attention.q_lora_rank", hp.opt_u32(&["q_lora_rank"])?);
    latent_lengths(hp, keys)?;
    keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
    keys.set("expert_shared_count", hp.u32(&["num_shared_experts"])?);
    keys.set("leading_dense_block_count", hp.u32(&["first_k_dense_replace"])?);
    keys.set("expert_weights_scale", hp.f32(&["routed_scaling_factor"])?);
    keys.set("expert_weights_norm", needed_flag(hp, "moe_renormalize")?);
    // The logistic function.
    keys.set("expert_gating_func", 2u32);
    keys.set_some(
        "expert_latent_length",
        hp.opt_u32(&["routed_expert_hidden_size"])?,
    );
    keys.set("activation.situ_beta", hp.f32(&["activation_situ_beta"])?);
    keys.set(
        "activation.situ_linear_beta",
        hp.f32(&["activation_situ_linear_beta"])?,
    );
    keys.set("attn_res.block_size", hp.u32(&["attn_res_block_size"])?);
    Ok(())
}

/// A turn ends as the configuration says, not where the tokenizer says that a document does.
fn late(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let end = hp.opt_u32(&["eos_token_id"])?;
    if let Some(end) = end.map(GgufValue::U32) {
        keys.set_tokenizer("eos_token_id", end);
    }
    Ok(())
}
