//! dots 3 note, the text model: DeepSeek's attention and experts, with layers that see a window and have heads of other
//! sizes, a gate for each head, and indexers in the other layers.

use gguf::{Array, Value as GgufValue};
use serde_json::{Map, Value};

use super::deepseek::{INDEXER, LATENT, indexer_keys, latent_keys};
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{EXPERTS, PREDICTING, SCORE_BIAS, SHARED_EXPERTS};
use crate::arch::rules::hooks::without_tied_output;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::{Architecture, Fixed, Graph, Hooks, Hparams, Keys, PLAIN, View, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static DOTS3NOTE: Architecture = Architecture {
    gguf: "dots3note",
    classes: &[
        class("Dots3NoteForCausalLM"),
        class("Dots3NoteForConditionalGeneration"),
        class("Dots3NoteTextForCausalLM"),
    ],
    rules: &[
        OWN,
        LATENT,
        INDEXER,
        DECODER,
        EXPERTS,
        SHARED_EXPERTS,
        SCORE_BIAS,
        PREDICTING,
    ],
    hyperparameters,
    vocabulary: |_| {
        VocabRequest::of([
            VocabStep::Needed(&[("eot", "<|endofassistant|>")]),
            VocabStep::read(&[VocabKind::Bpe]),
        ])
    },
    hooks: Hooks {
        prepare,
        canonical,
        more_blocks: |_, mut names| Ok((&mut names).any(|name| name == PREDICTED).into()),
        ..Hooks::NONE
    },
    graph: Graph::SILU.fixing(&[
        ("use_dsa", Fixed::Is(true)),
        ("normalization", Fixed::OneOf(&["RMSNorm"])),
        ("final_norm", Fixed::OneOf(&["RMSNorm"])),
        ("k_rope_only_layernorm", Fixed::Is(true)),
        ("topk_method", Fixed::OneOf(&["noaux_tc"])),
        ("scoring_func", Fixed::OneOf(&["sigmoid"])),
        ("use_dynamic_rsf", Fixed::Is(false)),
        ("moe_gating_fp32", Fixed::Is(false)),
        ("attention_gate_type", Fixed::OneOf(&["headwise"])),
        ("swa_attention_gate_type", Fixed::OneOf(&["headwise"])),
    ]),
    ..PLAIN
};

/// The embeddings of the layer that predicts a further token, which the configuration does not count.
const PREDICTED: &str = "model.mtp.embed_tokens.weight";

const OWN: &[Rule] = &[
    LAYER.rule(
        "self_attn.q_a_layernorm",
        "attn_q_a_norm",
        Transform::ScaleByBlock(|hp, _| rescaled(hp, hp.u32(&["q_lora_rank"])?)),
    ),
    LAYER.rule(
        "self_attn.kv_a_layernorm",
        "attn_kv_a_norm",
        Transform::ScaleByBlock(|hp, block| {
            let key = match slides(hp, block) {
                true => "swa_kv_lora_rank",
                false => "kv_lora_rank",
            };
            rescaled(hp, hp.u32(&[key])?)
        }),
    ),
    LAYER.copy("self_attn.k_rope_only_layernorm", "attn_k_norm"),
    LAYER.copy("self_attn.g_proj", "attn_gate"),
    LAYER.copy("self_attn.gate_proj", "attn_gate"),
    LAYER.exact_with(
        "self_attn.swa_kv_b_proj.weight",
        "attn_k_b.weight",
        Transform::View(key_part, None),
    ),
    LAYER.exact_with(
        "self_attn.swa_kv_b_proj.weight",
        "attn_v_b.weight",
        Transform::View(value_part, None),
    ),
];

/// All heads have keys and values of their own before the matrices are absorbed.
fn prepare(config: &mut Map<String, Value>) {
    config.shift_remove("head_dim");
    if let Some(heads) = config.get("num_attention_heads").cloned() {
        config.insert("num_key_value_heads".to_owned(), heads);
    }
}

/// The factor of the activations behind a norm.
fn rescaled(hp: &Hparams, rank: u32) -> Result<f32> {
    match hp.opt_bool("apply_mla_qkv_lora_rescale") {
        Some(true) => Ok((hp.f64(&["hidden_size"])? / f64::from(rank.max(1))).sqrt() as f32),
        _ => Ok(1.0),
    }
}

/// Whether a layer sees a window; that which predicts a further token does.
fn slides(hp: &Hparams, layer: u32) -> bool {
    let kinds = hp.strings("layer_types").unwrap_or_default();
    let layers = hp.u32(&["num_hidden_layers"]).unwrap_or(0);
    layer >= layers || kinds.get(layer as usize) == Some(&"sliding_attention")
}

/// The further layer's embeddings in its block; the matrices of layers with a window under a name of their own.
fn canonical(hp: &Hparams, name: String) -> Option<String> {
    if name == PREDICTED {
        let layers = hp.u32(&["num_hidden_layers"]).unwrap_or(0);
        return Some(format!("model.layers.{layers}.embed_tokens.weight"));
    }
    if name.starts_with("vision_encoder.") || name.starts_with("audio_encoder.") {
        return None;
    }
    let layer = name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.strip_suffix(".self_attn.kv_b_proj.weight"))
        .and_then(|layer| layer.parse::<u32>().ok());
    match layer {
        Some(layer) if slides(hp, layer) => Some(name.replace("kv_b_proj", "swa_kv_b_proj")),
        _ => without_tied_output(hp, name),
    }
}

fn key_part(hp: &Hparams, view: View) -> Result<Option<View>> {
    let key = u64::from(hp.u32(&["swa_qk_nope_head_dim"])?);
    Ok(by_head(hp, view)?.and_then(|v| v.cut(1, 0, key)?.swap(1, 2)))
}

fn value_part(hp: &Hparams, view: View) -> Result<Option<View>> {
    let key = u64::from(hp.u32(&["swa_qk_nope_head_dim"])?);
    let value = u64::from(hp.u32(&["swa_v_head_dim"])?);
    Ok(by_head(hp, view)?.and_then(|v| v.cut(1, key, value)))
}

fn by_head(hp: &Hparams, view: View) -> Result<Option<View>> {
    let head = u64::from(hp.u32(&["swa_qk_nope_head_dim"])?) + u64::from(hp.u32(&["swa_v_head_dim"])?);
    let view = view.split(0, hp.u32(&["swa_num_attention_heads"])?.into());
    Ok(view.filter(|v| v.shape().len() == 3 && v.shape()[1] == head))
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let rotated = hp.u32(&["qk_rope_head_dim"])?;
    for (key, expected) in [
        ("swa_qk_rope_head_dim", rotated),
        ("swa_q_lora_rank", hp.u32(&["q_lora_rank"])?),
    ] {
        let found = hp.u32(&[key])?;
        if found != expected {
            return Err(hp.error(format!(
                "{key}: found {found}, expected the {expected} of the layers without a window"
            )));
        }
    }
    for key in ["n_group", "topk_group"] {
        if hp.opt_u32(&[key])?.is_some_and(|n| n != 1) {
            return Err(hp.error(format!(
                "{key}: expected 1, groups of experts are not in the graph of dots3note"
            )));
        }
    }
    latent_keys(hp, keys)?;
    let layers = hp.u32(&["num_hidden_layers"])?;
    let (heads, of_windows) = (
        hp.u32(&["num_attention_heads"])?,
        hp.u32(&["swa_num_attention_heads"])?,
    );
    let of_layer = |layer: u32| if slides(hp, layer) { of_windows } else { heads };
    keys.set(
        "attention.head_count",
        common::numbers((0..hp.block_count()).map(of_layer).collect()),
    );
    keys.set("attention.sliding_window", hp.u32(&["sliding_window_size"])?);
    let windows: Vec<bool> = (0..layers).map(|layer| slides(hp, layer)).collect();
    let own = windows.iter().map(|slides| !slides).collect();
    keys.set(
        "attention.sliding_window_pattern",
        GgufValue::Array(Array::Bool(windows)),
    );
    let rank = hp.u32(&["swa_kv_lora_rank"])?;
    keys.set("attention.kv_lora_rank_swa", rank);
    keys.set("attention.key_length_swa", hp.head_of(rank, rotated)?);
    keys.set("attention.value_length_swa", rank);
    keys.set(
        "attention.key_length_mla_swa",
        hp.head_of(hp.u32(&["swa_qk_nope_head_dim"])?, rotated)?,
    );
    keys.set("attention.value_length_mla_swa", hp.u32(&["swa_v_head_dim"])?);
    let predicting = hp.block_count().saturating_sub(layers);
    keys.set_some("nextn_predict_layers", Some(predicting).filter(|&n| n > 0));
    indexer_keys(hp, keys)?;
    keys.set("attention.indexer.types", GgufValue::Array(Array::Bool(own)));
    Ok(())
}
