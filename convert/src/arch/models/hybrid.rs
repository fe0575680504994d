//! Hybrids of attention with Mamba layers or short convolutions: Jamba, Falcon-H1, LFM2.

use serde_json::Value;

use super::granite_hybrid::{FEED_FORWARD, MAMBA2, kv_heads_of_layers};
use super::mamba::{epsilon, negative_exp, or, squeezed};
use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform, copy, rule};
use crate::arch::rules::{common, experts};
use crate::arch::{
    Architecture, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, RowFactors, bare_class, class,
};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static JAMBA: Architecture = Architecture {
    gguf: "jamba",
    classes: &[class("JambaForCausalLM")],
    rules: &[JAMBA_RULES, DECODER, FEED_FORWARD],
    hyperparameters: jamba_keys,
    vocabulary: |_| {
        VocabRequest::new(&[VocabKind::SentencePiece, VocabKind::LlamaHf])
            .and([VocabStep::SpacePrefix(VocabKind::LlamaHf, false)])
    },
    model_types: &[&JAMBA_TYPE],
    ..PLAIN
};

const JAMBA_RULES: &[Rule] = &[
    LAYER.copy("mamba.in_proj", "ssm_in"),
    LAYER.copy("mamba.x_proj", "ssm_x"),
    LAYER.copy("mamba.dt_proj", "ssm_dt"),
    LAYER.copy("mamba.out_proj", "ssm_out"),
    LAYER.copy("mamba.dt_layernorm", "ssm_dt_norm"),
    LAYER.copy("mamba.b_layernorm", "ssm_b_norm"),
    LAYER.copy("mamba.c_layernorm", "ssm_c_norm"),
    LAYER.exact_with("mamba.A_log", "ssm_a", Transform::Map(negative_exp)),
    LAYER.exact("mamba.D", "ssm_d"),
    LAYER.exact_with(
        "mamba.conv1d.weight",
        "ssm_conv1d.weight",
        Transform::View(squeezed, None),
    ),
    LAYER.exact("mamba.conv1d.bias", "ssm_conv1d.bias"),
    LAYER.copy("feed_forward.router", "ffn_gate_inp"),
    LAYER.rule(
        "feed_forward.experts.{e}.down_proj",
        "ffn_down_exps",
        Transform::Expert,
    ),
    LAYER.rule(
        "feed_forward.experts.{e}.gate_proj",
        "ffn_gate_exps",
        Transform::Expert,
    ),
    LAYER.rule(
        "feed_forward.experts.{e}.up_proj",
        "ffn_up_exps",
        Transform::Expert,
    ),
];

fn jamba_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let hidden = hp.u32(&["hidden_size", "mamba_d_model"])?;
    let expand = hp.u32(&["mamba_expand"])?;
    let inner = hidden.checked_mul(expand).ok_or_else(|| {
        hp.error(format!(
            "mamba_expand: expected a factor whose product fits 32 bits, found {expand}"
        ))
    })?;
    let (period, offset) = (hp.u32(&["attn_layer_period"])?, hp.u32(&["attn_layer_offset"])?);
    if period == 0 {
        return Err(hp.error("attn_layer_period: expected at least 1, found 0".to_owned()));
    }
    let attention: Vec<bool> = (0..hp.block_count())
        .map(|i| i >= offset && (i - offset) % period == 0)
        .collect();
    let kv_heads = hp.u32(&["num_key_value_heads"])?;
    keys.set("block_count", hp.block_count());
    keys.set("context_length", hp.u32(&["max_position_embeddings", "n_ctx"])?);
    keys.set("embedding_length", hidden);
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set("attention.head_count", hp.u32(&["num_attention_heads"])?);
    keys.set(
        "attention.head_count_kv",
        kv_heads_of_layers(&attention, kv_heads),
    );
    keys.set("ssm.conv_kernel", or(hp.opt_u32(&["mamba_d_conv"])?, 4));
    keys.set("ssm.inner_size", inner);
    keys.set("ssm.state_size", or(hp.opt_u32(&["mamba_d_state"])?, 16));
    let rank = hp.opt_u32(&["mamba_dt_rank"])?;
    keys.set("ssm.time_step_rank", or(rank, hidden.div_ceil(16)));
    keys.set("attention.layer_norm_rms_epsilon", epsilon(hp, 1e-6)?);
    keys.set("expert_count", hp.u32(&["num_local_experts", "num_experts"])?);
    keys.set(
        "expert_used_count",
        hp.u32(&["num_experts_per_tok", "num_experts_per_token"])?,
    );
    keys.set_file_type();
    Ok(())
}

pub(super) static FALCON_H1: Architecture = Architecture {
    gguf: "falcon-h1",
    classes: &[class("FalconH1ForCausalLM")],
    rules: &[FALCON_H1_RULES, MAMBA2, DECODER, FEED_FORWARD],
    hyperparameters: falcon_h1_keys,
    model_types: &[&FALCON_H1_TYPE],
    ..PLAIN
};

/// The model's multipliers go into its weights.
const FALCON_H1_RULES: &[Rule] = &[
    scaled("model.embed_tokens", "token_embd", |hp, n| {
        one(hp, n, &["embedding_multiplier"])
    }),
    scaled("lm_head", "output", |hp, n| one(hp, n, &["lm_head_multiplier"])),
    scaled(
        "model.layers.{}.feed_forward.gate_proj",
        "blk.{}.ffn_gate",
        |hp, n| Ok(vec![(0..n, listed(hp, "mlp_multipliers", 0)?)]),
    ),
    scaled(
        "model.layers.{}.feed_forward.down_proj",
        "blk.{}.ffn_down",
        |hp, n| Ok(vec![(0..n, listed(hp, "mlp_multipliers", 1)?)]),
    ),
    scaled("model.layers.{}.self_attn.q_proj", "blk.{}.attn_q", |hp, n| {
        one(hp, n, &["attention_in_multiplier"])
    }),
    scaled("model.layers.{}.self_attn.k_proj", "blk.{}.attn_k", |hp, n| {
        one(hp, n, &["key_multiplier", "attention_in_multiplier"])
    }),
    scaled("model.layers.{}.self_attn.v_proj", "blk.{}.attn_v", |hp, n| {
        one(hp, n, &["attention_in_multiplier"])
    }),
    scaled(
        "model.layers.{}.self_attn.o_proj",
        "blk.{}.attn_output",
        |hp, n| one(hp, n, &["attention_out_multiplier"]),
    ),
    scaled("model.layers.{}.mamba.out_proj", "blk.{}.ssm_out", |hp, n| {
        one(hp, n, &["ssm_out_multiplier"])
    }),
    scaled("model.layers.{}.mamba.in_proj", "blk.{}.ssm_in", in_factors),
    // The stock converter writes this one without a suffix, and llama.cpp expects it so.
    LAYER.exact("pre_ff_layernorm.weight", "ffn_norm"),
];

const fn scaled(
    hf: &'static str,
    gguf: &'static str,
    factors: fn(&Hparams, u64) -> Result<RowFactors>,
) -> Rule {
    rule(hf, gguf, Transform::ScaleRows(factors))
}

/// All rows by each of these numbers of the configuration.
fn one(hp: &Hparams, rows: u64, keys: &[&str]) -> Result<RowFactors> {
    keys.iter().map(|key| Ok((0..rows, hp.f32(&[key])?))).collect()
}

fn listed(hp: &Hparams, key: &str, at: usize) -> Result<f32> {
    let value = hp.find(&[key]).and_then(|v| v.get(at)).unwrap_or(&Value::Null);
    hp.to_f32(key, value)
}

/// Gate, input, B, C and time steps of a Mamba-2 layer, each by its own number.
fn in_factors(hp: &Hparams, rows: u64) -> Result<RowFactors> {
    let inner = u64::from(hp.u32(&["mamba_d_ssm"])?);
    let states = u64::from(hp.u32(&["mamba_n_groups"])?) * u64::from(hp.u32(&["mamba_d_state"])?);
    let mut factors = one(hp, rows, &["ssm_in_multiplier"])?;
    let mut start = 0;
    for (at, length) in [inner, inner, states, states, rows].into_iter().enumerate() {
        let end = start + length;
        factors.push((start..end, listed(hp, "ssm_multipliers", at)?));
        start = end;
    }
    Ok(factors)
}

fn falcon_h1_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let inner = hp.u32(&["mamba_d_ssm"])?;
    let head = or(hp.opt_u32(&["mamba_d_head"])?, 64);
    keys.set(
        "context_length",
        hp.opt_u32(&["max_position_embeddings"])?.unwrap_or(0),
    );
    keys.set("embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set("attention.head_count", hp.u32(&["num_attention_heads"])?);
    keys.set("block_count", hp.block_count());
    keys.set(
        "ssm.conv_kernel",
        or(hp.opt_u32(&["conv_kernel", "d_conv", "mamba_d_conv"])?, 4),
    );
    keys.set("ssm.inner_size", inner);
    let state = hp.opt_u32(&["state_size", "d_state", "mamba_d_state"])?;
    keys.set("ssm.state_size", or(state, 128));
    keys.set("ssm.time_step_rank", inner / head);
    keys.set("ssm.group_count", hp.u32(&["mamba_n_groups"])?);
    keys.set("attention.layer_norm_rms_epsilon", epsilon(hp, 1e-5)?);
    keys.set_file_type();
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("attention.head_count_kv", hp.u32(&["num_key_value_heads"])?);
    let head_dim = hp.u32(&["head_dim"])?;
    keys.set("attention.key_length", head_dim);
    keys.set("attention.value_length", head_dim);
    let theta = hp.rope().get("rope_theta").unwrap_or(&Value::Null);
    keys.set("rope.freq_base", hp.to_f32("rope_theta", theta)?);
    Ok(())
}

pub(super) static LFM2: Architecture = Architecture {
    gguf: "lfm2",
    classes: &[class("Lfm2ForCausalLM"), class("LFM2ForCausalLM")],
    rules: &[LFM2_RULES, SHORT_CONVOLUTION, DECODER],
    hyperparameters: lfm2_keys,
    hooks: Hooks {
        canonical: |_, name| Some(name.replace("lfm.", "model.")),
        ..Hooks::NONE
    },
    model_types: &[&LFM2_TYPE],
    ..PLAIN
};

/// Embedding models of LFM2, without their outer module. The layer behind them is converted where it is there.
pub(super) static LFM2_EMBEDDING: Architecture = Architecture {
    classes: &[bare_class("Lfm2Model"), bare_class("Lfm2BidirectionalModel")],
    rules: &[LFM2_DENSE, LFM2_RULES, SHORT_CONVOLUTION, DECODER],
    early: |_, keys| {
        for module in keys.dense {
            keys.set("embedding_length_out", module.outputs);
        }
        Ok(())
    },
    hyperparameters: |hp, keys| {
        lfm2_keys(hp, keys)?;
        let class = crate::arch::multimodal::class_of(hp.values());
        if class == Some("Lfm2BidirectionalModel") {
            keys.set("attention.causal", false);
        }
        common::pooling(hp, keys)
    },
    hooks: Hooks {
        dense_modules: &[("1_Dense", "dense_2")],
        always_dense: true,
        ..Hooks::NONE
    },
    ..LFM2
};

const LFM2_DENSE: &[Rule] = &[copy("model.dense_2", "dense_2")];

pub(super) const LFM2_RULES: &[Rule] = &[
    copy("model.embedding_norm", "token_embd_norm"),
    LAYER.copy("operator_norm", "attn_norm"),
    LAYER.copy("ffn_norm", "ffn_norm"),
    LAYER.copy("self_attn.q_layernorm", "attn_q_norm"),
    LAYER.copy("self_attn.k_layernorm", "attn_k_norm"),
    LAYER.copy("self_attn.out_proj", "attn_output"),
    LAYER.copy("feed_forward.w1", "ffn_gate"),
    LAYER.copy("feed_forward.w2", "ffn_down"),
    LAYER.copy("feed_forward.w3", "ffn_up"),
];

pub(super) const SHORT_CONVOLUTION: &[Rule] = &[
    LAYER.copy("conv.in_proj", "shortconv.in_proj"),
    LAYER.copy("conv.out_proj", "shortconv.out_proj"),
    LAYER.rule("conv.conv", "shortconv.conv", Transform::View(squeezed, None)),
];

pub(super) static LFM2_MOE: Architecture = Architecture {
    gguf: "lfm2moe",
    classes: &[class("Lfm2MoeForCausalLM")],
    rules: &[LFM2_RULES, LFM2_EXPERTS, SHORT_CONVOLUTION, DECODER],
    graph: Graph::SILU.fixing(experts::WEIGHTS_ADD_UP),
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set(
            "attention.head_count_kv",
            lfm2_attention(hp, |t| t == "full_attention")?,
        );
        keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
        keys.set("leading_dense_block_count", hp.u32(&["num_dense_layers"])?);
        // The logistic function.
        keys.set("expert_gating_func", 2u32);
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        keys.set("shortconv.l_cache", hp.u32(&["conv_L_cache"])?);
        Ok(())
    },
    ..PLAIN
};

const LFM2_EXPERTS: &[Rule] = &[
    LAYER.copy("feed_forward.gate", "ffn_gate_inp"),
    LAYER.rule("feed_forward.experts.{e}.w1", "ffn_gate_exps", Transform::Expert),
    LAYER.rule("feed_forward.experts.{e}.w2", "ffn_down_exps", Transform::Expert),
    LAYER.rule("feed_forward.experts.{e}.w3", "ffn_up_exps", Transform::Expert),
    LAYER.exact("feed_forward.expert_bias", "exp_probs_b.bias"),
];

fn lfm2_attention(hp: &Hparams, is_attention: impl Fn(&str) -> bool) -> Result<gguf::Value> {
    let attention: Vec<bool> = match (hp.strings("layer_types"), hp.values().get("full_attn_idxs")) {
        (Some(types), _) => types.into_iter().map(is_attention).collect(),
        // The layers with attention by their numbers; null for all.
        (None, Some(Value::Null)) => vec![true; hp.block_count() as usize],
        (None, Some(Value::Array(layers))) => (0..hp.block_count())
            .map(|i| layers.contains(&i.into()))
            .collect(),
        _ => return Err(hp.error("expected a list layer_types, found none".to_owned())),
    };
    if attention.len() != hp.block_count() as usize {
        return Err(hp.error(format!(
            "layer_types: expected {} layers (num_hidden_layers), found {}",
            hp.block_count(),
            attention.len()
        )));
    }
    Ok(kv_heads_of_layers(&attention, hp.u32(&["num_key_value_heads"])?))
}

pub(super) fn lfm2_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("attention.head_count_kv", lfm2_attention(hp, |t| t != "conv")?);
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("shortconv.l_cache", hp.u32(&["conv_L_cache"])?);
    keys.set("attention.layer_norm_rms_epsilon", hp.f32(&["norm_eps"])?);
    let mut inner = u64::from(hp.u32(&["block_ff_dim", "intermediate_size"])?);
    if hp.opt_bool("block_auto_adjust_ff_dim") == Some(true) {
        inner = (2 * inner) / 3;
        if let Some(factor) = hp.find(&["block_ffn_dim_multiplier"]).and_then(Value::as_f64) {
            inner = (factor * inner as f64) as u64;
        }
        let multiple = u64::from(hp.u32(&["block_multiple_of"])?).max(1);
        inner = inner.div_ceil(multiple).saturating_mul(multiple);
    }
    let inner = u32::try_from(inner).map_err(|_| {
        hp.error(format!(
            "expected a feed-forward length of 32 bits, found {inner}"
        ))
    })?;
    keys.set("feed_forward_length", inner);
    Ok(())
}

pub(super) static JAMBA_TYPE: ModelType = ModelType::of("jamba");

pub(super) static FALCON_H1_TYPE: ModelType = ModelType::of("falcon_h1");

pub(super) static LFM2_TYPE: ModelType = ModelType {
    renames: &[("block_ff_dim", "intermediate_size")],
    ..ModelType::of("lfm2")
};
