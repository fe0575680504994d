//! Muse Glimmer, the text model: gates of attention, norms on both sides of each half, layers with a window that alone
//! rotate.

use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule, Transform};
use crate::arch::{Architecture, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static MUSE_GLIMMER: Architecture = Architecture {
    gguf: "muse-glimmer",
    classes: &[class("MuseGlimmerForConditionalGeneration")],
    rules: &[OWN, PERMUTED, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("final_logit_softcapping", hp.f32(&["final_logit_softcapping"])?);
        keys.set("logit_scale", hp.f32(&["output_multiplier"])?);
        keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
        keys.set("attention.sliding_window_pattern", common::windows(hp)?);
        Ok(())
    },
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]).and([VocabStep::IdOfText("eot", "<|eot|>")]),
    ..PLAIN
};

/// Norms of queries and keys have no weights; the factor on the queries becomes some.
const OWN: &[Rule] = &[
    LAYER.rule(
        "self_attn.q_proj",
        "attn_q_norm",
        Transform::Fill(|hp| Ok((hp.u32(&["head_dim"])?.into(), hp.f32(&["qk_scale_factor"])?))),
    ),
    LAYER.rule(
        "self_attn.q_proj",
        "attn_k_norm",
        Transform::Fill(|hp| Ok((hp.u32(&["head_dim"])?.into(), 1.0))),
    ),
    LAYER.rule("self_attn.q_proj", "attn_q", Transform::PermuteQuery),
    LAYER.copy("self_attn.gate_proj", "attn_gate"),
    LAYER.rule("input_layernorm", "attn_norm", Transform::AddOne),
    LAYER.rule(
        "post_attention_layernorm",
        "post_attention_norm",
        Transform::AddOne,
    ),
    LAYER.rule("pre_feedforward_layernorm", "ffn_norm", Transform::AddOne),
    LAYER.rule("post_feedforward_layernorm", "post_ffw_norm", Transform::AddOne),
];
