//! Mamba, Falcon Mamba and Mamba-2: no attention at all.

use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, copy};
use crate::arch::{Activation, Architecture, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, View, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static MAMBA: Architecture = Architecture {
    gguf: "mamba",
    classes: &[
        class("MambaForCausalLM"),
        class("MambaLMHeadModel"),
        class("FalconMambaForCausalLM"),
    ],
    rules: &[MODEL, MAMBA_RULES],
    hyperparameters: mamba_keys,
    vocabulary: |config| {
        VocabRequest::of([
            VocabStep::Multiple(pad_multiple(config, 8)),
            VocabStep::read(&[VocabKind::Bpe, VocabKind::SentencePiece]),
        ])
    },
    hooks: Hooks {
        canonical: without_tied_output,
        ..Hooks::NONE
    },
    model_types: &[&MAMBA_TYPE, &FALCON_MAMBA_TYPE],
    graph: Graph::with(Activation::Any),
    ..PLAIN
};

pub(super) static MAMBA2: Architecture = Architecture {
    gguf: "mamba2",
    classes: &[class("Mamba2ForCausalLM")],
    rules: &[MODEL, MAMBA2_RULES],
    hyperparameters: mamba2_keys,
    vocabulary: |config| {
        VocabRequest::of([
            VocabStep::Multiple(pad_multiple(config, 16)),
            VocabStep::read(&[VocabKind::SentencePiece, VocabKind::Bpe]),
        ])
    },
    hooks: Hooks {
        canonical: without_outer_module,
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Any),
    ..PLAIN
};

const BLOCK: Scope = Scope::new("backbone.layers.{}", "blk.{}");

pub(super) const MODEL: &[Rule] = &[
    copy("backbone.embeddings", "token_embd"),
    copy("backbone.embedding", "token_embd"),
    copy("backbone.norm_f", "output_norm"),
    copy("lm_head", "output"),
    BLOCK.copy("norm", "attn_norm"),
    BLOCK.copy("mixer.in_proj", "ssm_in"),
    BLOCK.copy("mixer.out_proj", "ssm_out"),
    BLOCK.exact_with(
        "mixer.conv1d.weight",
        "ssm_conv1d.weight",
        Transform::View(squeezed, None),
    ),
    BLOCK.exact("mixer.conv1d.bias", "ssm_conv1d.bias"),
];

const MAMBA_RULES: &[Rule] = &[
    BLOCK.copy("mixer.x_proj", "ssm_x"),
    BLOCK.copy("mixer.dt_proj", "ssm_dt"),
    BLOCK.exact_with("mixer.A_log", "ssm_a", Transform::Map(negative_exp)),
    BLOCK.exact("mixer.D", "ssm_d"),
];

pub(super) const MAMBA2_RULES: &[Rule] = &[
    BLOCK.exact_with(
        "mixer.A_log",
        "ssm_a",
        Transform::View(as_column, Some(negative_exp)),
    ),
    BLOCK.exact_with("mixer.D", "ssm_d", Transform::View(as_column, None)),
    BLOCK.exact("mixer.dt_bias", "ssm_dt.bias"),
    BLOCK.exact_with(
        "mixer.norm.weight",
        "ssm_norm.weight",
        Transform::View(
            |hp, view| Ok(grouped(view, hp.opt_u32(&["n_groups"])?.unwrap_or(1))),
            None,
        ),
    ),
];

/// A convolution over channels by themselves: channels x width, without the dimension of 1 between.
pub(super) fn squeezed(_: &Hparams, view: View) -> Result<Option<View>> {
    Ok(view.without(1))
}

/// A vector as a matrix of one column.
pub(super) fn as_column(_: &Hparams, view: View) -> Result<Option<View>> {
    let shape = [view.len(), 1];
    Ok(view.shaped(&shape))
}

/// A vector as a row for each group.
pub(super) fn grouped(view: View, groups: u32) -> Option<View> {
    view.split(0, groups.into())
}

/// Checkpoints hold the logarithm of a decay rate; graphs use its negative. PyTorch's exponential may differ
/// in the last bit: its vector library does not round to nearest.
pub(super) fn negative_exp(x: f32) -> f32 {
    -(f64::from(x).exp() as f32)
}

/// The output matrix of a tied model is its embedding.
fn without_tied_output(hp: &Hparams, name: String) -> Option<String> {
    let tied = hp.opt_bool("tie_word_embeddings") == Some(true);
    (!tied || name != "lm_head.weight").then_some(name)
}

/// Codestral's checkpoint has a module around the model.
fn without_outer_module(_: &Hparams, name: String) -> Option<String> {
    let inner = name.strip_prefix("model.").map(str::to_owned);
    Some(inner.unwrap_or(name))
}

/// Multiple to which the number of tokens is rounded up.
pub(super) fn pad_multiple(config: &serde_json::Value, default: u64) -> u64 {
    config["pad_vocab_size_multiple"].as_u64().unwrap_or(default)
}

/// Keys that both write first.
fn model_keys(hp: &Hparams, keys: &mut Keys<'_>, hidden: u32) {
    keys.set("context_length", 1u32 << 20);
    keys.set("embedding_length", hidden);
    keys.set("feed_forward_length", 0u32);
    keys.set("attention.head_count", 0u32);
    keys.set("block_count", hp.block_count());
}

/// Falls back to `default` for a zero as well, as Python's `or` does.
pub(super) fn or(value: Option<u32>, default: u32) -> u32 {
    value.filter(|&n| n != 0).unwrap_or(default)
}

/// `layer_norm_epsilon` or `rms_norm_eps`, else `default`.
pub(super) fn epsilon(hp: &Hparams, default: f32) -> Result<f32> {
    let eps = hp.opt_f32(&["layer_norm_epsilon", "rms_norm_eps"])?;
    Ok(eps.filter(|&e| e != 0.0).unwrap_or(default))
}

fn mamba_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let hidden = hp.u32(&["hidden_size", "d_model"])?;
    let doubled = hidden.checked_mul(2).ok_or_else(|| {
        hp.error(format!(
            "hidden_size: expected a number whose double fits 32 bits, found {hidden}"
        ))
    })?;
    let inner = or(hp.opt_u32(&["intermediate_size", "d_inner"])?, doubled);
    if inner != doubled {
        return Err(hp.error(format!(
            "intermediate_size: expected twice the hidden size of {hidden}, found {inner}"
        )));
    }
    model_keys(hp, keys, hidden);
    keys.set("ssm.conv_kernel", or(hp.opt_u32(&["conv_kernel", "d_conv"])?, 4));
    keys.set("ssm.inner_size", inner);
    keys.set("ssm.state_size", or(hp.opt_u32(&["state_size", "d_state"])?, 16));
    let rank = hp.opt_u32(&["time_step_rank", "dt_rank"])?;
    keys.set("ssm.time_step_rank", or(rank, hidden.div_ceil(16)));
    keys.set("attention.layer_norm_rms_epsilon", epsilon(hp, 1e-5)?);
    let normed = hp.opt_str(&["model_type"]) == Some("falcon_mamba");
    keys.set("ssm.dt_b_c_rms", normed);
    keys.set_file_type();
    Ok(())
}

fn mamba2_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let hidden = hp.u32(&["hidden_size", "d_model", "dim"])?;
    let expand = or(hp.opt_u32(&["mamba_expand", "expand"])?, 2);
    let expanded = hidden.checked_mul(expand).ok_or_else(|| {
        hp.error(format!(
            "hidden_size: expected a number whose double fits 32 bits, found {hidden}"
        ))
    })?;
    let inner = or(
        hp.opt_u32(&["mamba_d_ssm", "intermediate_size", "d_inner"])?,
        expanded,
    );
    let head = or(hp.opt_u32(&["mamba_d_head", "head_dim"])?, 64);
    if inner != expanded || !inner.is_multiple_of(head) {
        return Err(hp.error(format!(
            "inner size {inner}, {expand} times the hidden size of {hidden} and a multiple of head_dim {head} \
             expected"
        )));
    }
    model_keys(hp, keys, hidden);
    keys.set("ssm.conv_kernel", or(hp.opt_u32(&["conv_kernel", "d_conv"])?, 4));
    keys.set("ssm.inner_size", inner);
    keys.set("ssm.state_size", or(hp.opt_u32(&["state_size", "d_state"])?, 128));
    keys.set("ssm.time_step_rank", inner / head);
    keys.set("ssm.group_count", or(hp.opt_u32(&["n_groups"])?, 1));
    keys.set("attention.layer_norm_rms_epsilon", epsilon(hp, 1e-5)?);
    keys.set_file_type();
    Ok(())
}

pub(super) static MAMBA_TYPE: ModelType = ModelType::of("mamba");

pub(super) static FALCON_MAMBA_TYPE: ModelType = ModelType::of("falcon_mamba");
