//! Phi-1 to Phi-4 and Phi-3.5-MoE.

use crate::Result;
use crate::arch::rules::experts::BLOCK_SPARSE_EXPERTS;
use crate::arch::rules::names::{DECODER, LAYER, Rule, copy};
use crate::arch::rules::rope;
use crate::arch::{Activation, Architecture, Graph, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static PHI2: Architecture = Architecture {
    gguf: "phi2",
    classes: &[class("PhiForCausalLM")],
    rules: &[PHI2_OWN, DECODER],
    hyperparameters: phi2_keys,
    model_types: &[&PHI_TYPE],
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

pub(super) static PHI3: Architecture = Architecture {
    gguf: "phi3",
    classes: &[class("Phi3ForCausalLM"), class("Phi4ForCausalLMV")],
    rules: &[PHI3_OWN, DECODER],
    hyperparameters: phi3_keys,
    early: |hp, keys| {
        keys.set_some("rope.scaling.attn_factor", attention_factor(hp)?);
        Ok(())
    },
    generated: rope::long_factors,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Gpt2Class, VocabKind::Phi3]),
    model_types: &[&PHI3_TYPE],
    ..PLAIN
};

pub(super) static PHIMOE: Architecture = Architecture {
    gguf: "phimoe",
    classes: &[class("PhiMoEForCausalLM"), class("PhimoeForCausalLM")],
    rules: &[BLOCK_SPARSE_EXPERTS, DECODER],
    hyperparameters: phimoe_keys,
    model_types: &[&PHIMOE_TYPE],
    ..PHI3
};

const PHI2_OWN: &[Rule] = &[
    copy("model.final_layernorm", "output_norm"),
    LAYER.copy("self_attn.dense", "attn_output"),
    LAYER.copy("mlp.fc1", "ffn_up"),
    LAYER.copy("mlp.fc2", "ffn_down"),
];

const PHI3_OWN: &[Rule] = &[
    LAYER.copy("self_attn.qkv_proj", "attn_qkv"),
    LAYER.copy("mlp.gate_up_proj", "ffn_up"),
];

/// Rotated elements of a head.
fn rotated(hp: &Hparams, factor: f64) -> Result<u32> {
    let all = (factor * f64::from(hp.u32(&["hidden_size", "n_embd"])?)) as u32;
    Ok(all / hp.heads()?.0)
}

fn phi2_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if hp.opt_bool("qk_layernorm") == Some(true) {
        return Err(
            hp.error("qk_layernorm: expected false, found true, which has no form in GGUF".to_owned())
        );
    }
    let (heads, kv) = hp.heads()?;
    keys.set(
        "context_length",
        hp.u32(&["n_positions", "max_position_embeddings"])?,
    );
    keys.set("embedding_length", hp.u32(&["hidden_size", "n_embd"])?);
    // The stock converter writes four times the width and all heads, whatever the configuration says.
    let inner = match hp.opt_u32(&["intermediate_size", "n_inner"])? {
        Some(inner) => inner,
        None => hp.times(4, &["hidden_size", "n_embd"])?,
    };
    keys.set("feed_forward_length", inner);
    keys.set("block_count", hp.block_count());
    keys.set("attention.head_count", heads);
    keys.set("attention.head_count_kv", kv);
    keys.set(
        "attention.layer_norm_epsilon",
        hp.f32(&["layer_norm_epsilon", "layer_norm_eps"])?,
    );
    let factor = hp
        .partial_rotary_factor()?
        .ok_or_else(|| hp.error("expected a key partial_rotary_factor, found none".to_owned()))?;
    keys.set("rope.dimension_count", rotated(hp, factor)?);
    keys.set_file_type();
    keys.set_tokenizer("add_bos_token", false);
    Ok(())
}

fn phi3_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let (heads, kv) = hp.heads()?;
    keys.set("context_length", context(hp)?);
    keys.set("rope.scaling.original_context_length", original_context(hp)?);
    keys.set("embedding_length", hp.u32(&["hidden_size", "n_embd"])?);
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set("block_count", hp.block_count());
    keys.set("attention.head_count", heads);
    keys.set("attention.head_count_kv", kv);
    keys.set("attention.layer_norm_rms_epsilon", hp.f32(&["rms_norm_eps"])?);
    let factor = hp.partial_rotary_factor()?.unwrap_or(1.0);
    keys.set("rope.dimension_count", rotated(hp, factor)?);
    let base = hp.rope().get("rope_theta").unwrap_or(&serde_json::Value::Null);
    keys.set("rope.freq_base", hp.to_f32("rope_theta", base)?);
    keys.set_file_type();
    // Zero tells Phi-4 from the others.
    keys.set(
        "attention.sliding_window",
        hp.opt_u32(&["sliding_window"])?.unwrap_or(0),
    );
    Ok(())
}

fn phimoe_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    phi3_keys(hp, keys)?;
    keys.set(
        "expert_used_count",
        hp.u32(&["num_experts_per_tok", "num_experts_per_token"])?,
    );
    keys.set("expert_count", hp.u32(&["num_local_experts", "num_experts"])?);
    Ok(())
}

fn context(hp: &Hparams) -> Result<u32> {
    hp.u32(&["n_positions", "max_position_embeddings"])
}

fn original_context(hp: &Hparams) -> Result<u32> {
    let key = "original_max_position_embeddings";
    match hp.rope().get(key) {
        Some(value) if !value.is_null() => hp.to_u32(key, value),
        // Transformers 5 leaves it out where there is no other.
        _ if rope::long_factors(hp)?.is_empty() => context(hp),
        _ => Err(hp.error(format!(
            "expected a key {key}, by which LongRoPE's factors are chosen, found none"
        ))),
    }
}

/// By how much attention is scaled for contexts longer than those of the original training.
fn attention_factor(hp: &Hparams) -> Result<Option<f32>> {
    if rope::long_factors(hp)?.is_empty() {
        return Ok(None);
    }
    let original = f64::from(original_context(hp)?);
    let scale = f64::from(context(hp)?) / original;
    let kind = hp.rope().get("rope_type").and_then(serde_json::Value::as_str);
    let factor = match kind.map(str::to_ascii_lowercase).as_deref() {
        _ if scale <= 1.0 => 1.0,
        Some("su" | "longrope") => (1.0 + scale.ln() / original.ln()).sqrt(),
        Some("yarn") => 0.1 * scale.ln() + 1.0,
        other => {
            return Err(hp.error(format!(
                "rope_type: expected su, longrope or yarn beside long_factor, found {}",
                other.unwrap_or("none")
            )));
        }
    };
    Ok(Some(factor as f32))
}

pub(super) static PHI_TYPE: ModelType = ModelType::of("phi");

pub(super) static PHI3_TYPE: ModelType = ModelType::of("phi3");

pub(super) static PHIMOE_TYPE: ModelType = ModelType::of("phimoe");
