//! Grok 1 and 2.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::BLOCK_SPARSE_EXPERTS;
use crate::arch::rules::names::{DECODER, LAYER, Rule, copy};
use crate::arch::{Activation, Architecture, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static GROK: Architecture = Architecture {
    gguf: "grok",
    classes: &[class("GrokForCausalLM"), class("Grok1ForCausalLM")],
    rules: &[GROK1, GROK2, BLOCK_SPARSE_EXPERTS, DECODER],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece, VocabKind::Bpe]),
    model_types: &[&GIT_TYPE],
    graph: Graph::with(Activation::Gelu),
    hooks: Hooks {
        canonical,
        ..Hooks::NONE
    },
    ..PLAIN
};

/// The name in Grok 2's configuration, which `transformers` knows as that of another model.
static GIT_TYPE: ModelType = ModelType::unrotated("git");

/// Of scores and of the router's logits, where the configuration does not say.
const CAP: f32 = 30.0;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    let cap = |key: &str| Ok::<_, crate::Error>(hp.opt_f32(&[key])?.unwrap_or(CAP));
    keys.set("attn_logit_softcapping", cap("attn_logit_softcapping")?);
    keys.set("router_logit_softcapping", cap("router_logit_softcapping")?);
    let last = hp.opt_f32(&["final_logit_softcapping"])?;
    keys.set_some("final_logit_softcapping", last.filter(|&cap| cap != 0.0));
    keys.set_some(
        "expert_feed_forward_length",
        hp.opt_u32(&["moe_intermediate_size"])?,
    );
    // Grok 2 calls it "original".
    if let Some("yarn" | "original") = hp.opt_str(&["rope_type"]) {
        keys.set("rope.scaling.type", "yarn");
        keys.set("rope.scaling.factor", hp.f32(&["scaling_factor"])?);
        keys.set(
            "rope.scaling.original_context_length",
            hp.u32(&["original_max_position_embeddings"])?,
        );
        keys.set("rope.scaling.yarn_ext_factor", hp.f32(&["extrapolation_factor"])?);
        keys.set("rope.scaling.yarn_attn_factor", hp.f32(&["attn_factor"])?);
        keys.set("rope.scaling.yarn_beta_fast", hp.f32(&["beta_fast"])?);
        keys.set("rope.scaling.yarn_beta_slow", hp.f32(&["beta_slow"])?);
    }
    let length = hp.opt_u32(&["attn_temperature_len"])?;
    keys.set_some("attention.temperature_length", length.filter(|&n| n > 0));
    let scale = match hp.opt_f32(&["attn_output_multiplier"])? {
        Some(scale) => scale,
        None => f64::from(hp.head_dim()?).powf(-0.5) as f32,
    };
    keys.set("attention.output_scale", scale);
    keys.set("embedding_scale", hp.f32(&["embedding_multiplier_scale"])?);
    keys.set("logit_scale", hp.f32(&["output_multiplier_scale"])?);
    Ok(())
}

/// Grok 1's names as those of Grok 2.
fn canonical(_: &Hparams, name: String) -> Option<String> {
    let Some(rest) = name.strip_prefix("transformer.decoder_layer.") else {
        return Some(name);
    };
    let parts: Vec<&str> = rest.split('.').collect();
    let [layer, "moe", expert, matrix, suffix] = parts[..] else {
        return Some(format!("model.layers.{rest}"));
    };
    let matrix = match matrix {
        "linear" => "w1",
        "linear_1" => "w2",
        "linear_v" => "w3",
        other => other,
    };
    Some(format!(
        "model.layers.{layer}.block_sparse_moe.experts.{expert}.{matrix}.{suffix}"
    ))
}

const GROK1: &[Rule] = &[
    copy("transformer.in_out_embed", "token_embd"),
    copy("transformer.rms_norm", "output_norm"),
    LAYER.copy("rms_norm", "attn_norm"),
    LAYER.copy("rms_norm_1", "attn_output_norm"),
    LAYER.copy("rms_norm_2", "ffn_norm"),
    LAYER.copy("rms_norm_3", "layer_output_norm"),
    LAYER.copy("multi_head_attention.query", "attn_q"),
    LAYER.copy("multi_head_attention.key", "attn_k"),
    LAYER.copy("multi_head_attention.value", "attn_v"),
    LAYER.copy("multi_head_attention.linear", "attn_output"),
    LAYER.copy("router", "ffn_gate_inp"),
];

const GROK2: &[Rule] = &[
    LAYER.copy("pre_attn_norm", "attn_norm"),
    LAYER.copy("post_attn_norm", "attn_output_norm"),
    LAYER.copy("pre_moe_norm", "ffn_norm"),
    LAYER.copy("post_moe_norm", "post_ffw_norm"),
];
