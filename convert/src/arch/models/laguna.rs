//! Laguna: a mixture of experts with gates of what attention mixes, layers with numbers of heads of their own.

use serde_json::Value;

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::EXPERTS_GATES_FIRST;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule};
use crate::arch::{Architecture, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static LAGUNA: Architecture = Architecture {
    gguf: "laguna",
    classes: &[class("LagunaForCausalLM")],
    rules: &[OWN, DECODER, HEAD_NORMS, EXPERTS_GATES_FIRST],
    hyperparameters,
    vocabulary: |config| {
        VocabRequest::new(&[VocabKind::Bpe])
            .and([
                VocabStep::Control(&["</assistant>"]),
                VocabStep::ChatTemplateOfFile,
            ])
            .and(end_of_turn(config).map(|id| VocabStep::Id("eot", id)))
    },
    ..PLAIN
};

/// Of several tokens that end a text, the first that does not begin one too ends a turn.
fn end_of_turn(config: &Value) -> Option<u32> {
    let ends = config["eos_token_id"].as_array()?;
    let id = ends.iter().find(|id| **id != config["bos_token_id"])?;
    id.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    let key = "num_attention_heads_per_layer";
    let heads = match hp
        .find(&[key])
        .filter(|list| list.as_array().is_some_and(|l| !l.is_empty()))
    {
        Some(list) => common::list(hp, key, list)?
            .iter()
            .map(|n| hp.to_u32(key, n))
            .collect::<Result<_>>()?,
        None => vec![hp.u32(&["num_attention_heads"])?; hp.block_count() as usize],
    };
    keys.set("attention.head_count", common::numbers(heads));
    check_gates(hp)?;
    let window = hp.opt_u32(&["sliding_window"])?;
    keys.set_some("attention.sliding_window", window.filter(|&n| n > 0));
    keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
    keys.set(
        "expert_shared_feed_forward_length",
        hp.u32(&["shared_expert_intermediate_size"])?,
    );
    keys.set("expert_weights_norm", true);
    keys.set("expert_weights_scale", hp.f32(&["moe_routed_scaling_factor"])?);
    // The logistic function.
    keys.set("expert_gating_func", 2u32);
    let kinds = hp
        .strings("mlp_layer_types")
        .ok_or_else(|| hp.error("key mlp_layer_types: expected a list, found none".to_owned()))?;
    let dense = kinds.iter().take_while(|kind| **kind == "dense").count();
    keys.set("leading_dense_block_count", dense as u32);
    let rotated = |kind: &str| -> Result<Option<u32>> {
        let Some(rope) = hp.rope().get(kind) else {
            return Ok(None);
        };
        let factor = rope.get("partial_rotary_factor").and_then(Value::as_f64);
        let length = f64::from(hp.u32(&["head_dim"])?) * factor.unwrap_or(1.0);
        Ok(Some(length as u32))
    };
    let full = rotated("full_attention")?
        .ok_or_else(|| hp.error("rope_parameters: expected a key full_attention, found none".to_owned()))?;
    keys.set("rope.dimension_count", full);
    keys.set_some("rope.dimension_count_swa", rotated("sliding_attention")?);
    Ok(())
}

/// Whether there is one gate for each head or for each element, which runtimes take from `gating`, must be said there.
fn check_gates(hp: &Hparams) -> Result<()> {
    let kind = |value: &Value| match value.as_str().map(|kind| kind.replace('-', "_")).as_deref() {
        Some("per_element") => Some(true),
        Some("per_head") => Some(false),
        _ => None,
    };
    let gating = hp.find(&["gating"]);
    let each = gating.and_then(kind);
    let list = hp
        .find(&["gating_types"])
        .filter(|list| list.as_array().is_some_and(|l| !l.is_empty()));
    let known = match list {
        None => each.is_some() || gating == Some(&Value::Bool(true)),
        Some(list) => common::list(hp, "gating_types", list)?
            .iter()
            .all(|value| kind(value).is_some_and(|elements| !elements || each == Some(true))),
    };
    match known {
        true => Ok(()),
        false => Err(hp.error(format!(
            "gating is {}, expected true or \"per-head\", or \"per-element\" where elements have gates",
            gating.unwrap_or(&Value::Null)
        ))),
    }
}

const OWN: &[Rule] = &[
    LAYER.copy("self_attn.g_proj", "attn_gate"),
    LAYER.exact("mlp.experts.e_score_correction_bias", "exp_probs_b.bias"),
    LAYER.copy("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    LAYER.copy("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    LAYER.copy("mlp.shared_expert.down_proj", "ffn_down_shexp"),
];
