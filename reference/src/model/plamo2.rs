//! PLaMo 2: state spaces in some layers, attention in the others; norms on both sides of each half.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use super::mamba::convolution;
use crate::Result;
use crate::layers::{Attention, Mixer, PlamoMamba};
use crate::ops::{Activation, Norm, NormKind, Rope, RopeStyle};
use crate::weights::Loader;

use std::sync::Arc;

/// The least length of what time steps are made from.
const SMALLEST_STEP_RANK: usize = 64;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let rope = rope(loader, &hyper, RopeStyle::Neox)?;
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let norm = |name: &str| loader.rms_norm(&format!("blk.{i}.{name}"), hyper.hidden, eps);
        // These names have no suffix.
        let bare = |name: &str| bare_norm(loader, &format!("blk.{i}.{name}"), hyper.hidden, eps);
        let mixer = match hyper.heads_or_none(i) {
            (_, 0) => Mixer::PlamoMamba(Box::new(state_space(loader, i, hyper.hidden, eps)?)),
            _ => attention(loader, &hyper, i, rope.clone(), eps)?.into(),
        };
        let mlp = hyper.feed_forward_of_two(loader, i, Activation::Silu, true)?;
        layers.push(Layer {
            attention_post_norm: Some(bare("post_attention_norm")?),
            mlp_post_norm: Some(bare("post_ffw_norm")?),
            ..Layer::new(
                norm("attn_norm")?,
                mixer,
                norm("ffn_norm")?,
                Mlp::Dense(Box::new(mlp)),
            )
        });
    }
    Decoder::of_layers(loader, hyper.hidden, eps, layers)
}

fn bare_norm(loader: &Loader<'_>, name: &str, len: usize, eps: f32) -> Result<Norm> {
    Ok(Norm {
        kind: NormKind::Rms,
        group: len,
        weight: loader.vector(name, len)?,
        bias: Vec::new(),
        eps,
        tensor: None,
    })
}

fn attention(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    rope: Arc<Rope>,
    eps: f32,
) -> Result<Attention> {
    let (heads, kv) = hyper.heads(loader, layer)?;
    let scale = 1.0 / (hyper.value_len as f32).sqrt();
    let mut attention = hyper.attention(loader, layer, Some(rope), scale)?;
    let norm = |name: &str, heads: usize| {
        let base = format!("blk.{layer}.{name}");
        let weight = loader.table(&format!("{base}.weight"), hyper.key_len, heads)?;
        Ok::<_, crate::Error>(Norm {
            kind: NormKind::Rms,
            group: hyper.key_len,
            weight,
            bias: Vec::new(),
            eps,
            tensor: None,
        })
    };
    attention.query_norm = Some(norm("attn_q_norm", heads)?);
    attention.key_norm = Some(norm("attn_k_norm", kv)?);
    Ok(attention)
}

fn state_space(loader: &Loader<'_>, layer: usize, hidden: usize, eps: f32) -> Result<PlamoMamba> {
    let keys = &loader.keys;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let channels = keys.count("ssm.inner_size")?;
    let states = keys.count("ssm.state_size")?;
    let heads = keys.count("ssm.time_step_rank")?;
    let width = keys.count("ssm.conv_kernel")?;
    let rank = (hidden / 16).max(SMALLEST_STEP_RANK);
    if heads == 0 || !channels.is_multiple_of(heads) {
        return Err(loader.error(format!(
            "state space: expected channels (ssm.inner_size) that are a multiple of heads (ssm.time_step_rank), found \
             {channels} and {heads}"
        )));
    }
    let made = states.checked_mul(2).and_then(|n| n.checked_add(rank));
    let (Some(made), Some(both)) = (made, channels.checked_mul(2)) else {
        return Err(loader.error("ssm.* sizes are too large"));
    };
    let norm = |name: &str, len: usize| bare_norm(loader, &base(name), len, eps);
    Ok(PlamoMamba {
        input: loader.linear(&base("ssm_in"), hidden, both)?,
        convolution: convolution(loader, &base("ssm_conv1d"), width, channels)?,
        parameters: loader.linear(&base("ssm_x"), channels, made)?,
        time_step: loader.linear(&base("ssm_dt"), rank, heads)?,
        step_norm: norm("ssm_dt_norm", rank)?,
        b_norm: norm("ssm_b_norm", states)?,
        c_norm: norm("ssm_c_norm", states)?,
        a: loader.vector(&base("ssm_a"), heads)?,
        d: loader.vector(&base("ssm_d"), heads)?,
        output: loader.linear(&base("ssm_out"), channels, hidden)?,
        states,
    })
}
