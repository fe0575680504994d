//! Mamba, Falcon Mamba and Mamba-2: layers of state spaces alone.

use super::decoder::{Decoder, Layer, Mlp};
use super::mixtures::weightless;
use crate::Result;
use crate::layers::{Convolution, Mamba, Mamba2, Mixer};
use crate::ops::{Norm, NormKind};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    decoder(loader, |i, hidden, eps| {
        Ok(Mixer::Mamba(Box::new(mamba(loader, i, hidden, eps)?)))
    })
}

pub(super) fn build2(loader: &Loader<'_>) -> Result<Decoder> {
    decoder(loader, |i, hidden, eps| {
        Ok(Mixer::Mamba2(Box::new(mamba2(loader, i, hidden, eps)?)))
    })
}

fn decoder(loader: &Loader<'_>, mixer: impl Fn(usize, usize, f32) -> Result<Mixer>) -> Result<Decoder> {
    let hidden = loader.keys.count("embedding_length")?;
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let mut layers = Vec::new();
    for i in 0..loader.keys.blocks()? {
        let norm = loader.rms_norm(&format!("blk.{i}.attn_norm"), hidden, eps)?;
        layers.push(Layer {
            mlp_norm: None,
            ..Layer::new(norm, mixer(i, hidden, eps)?, weightless(hidden, eps), Mlp::None)
        });
    }
    Decoder::of_layers(loader, hidden, eps, layers)
}

/// The sum of products of sizes that come from a file.
fn total(loader: &Loader<'_>, parts: &[(usize, usize)]) -> Result<usize> {
    parts
        .iter()
        .try_fold(0usize, |sum, (a, b)| sum.checked_add(a.checked_mul(*b)?))
        .ok_or_else(|| loader.error("ssm.* sizes are too large"))
}

/// `blk.{layer}.{name}` as numbers for each channel.
pub(super) fn convolution(
    loader: &Loader<'_>,
    base: &str,
    width: usize,
    channels: usize,
) -> Result<Convolution> {
    let bias = loader.optional_vector(&format!("{base}.bias"), channels)?;
    Ok(Convolution {
        weight: loader.table(&format!("{base}.weight"), width, channels)?,
        bias: bias.unwrap_or_default(),
    })
}

/// The state space of `blk.{layer}`.
pub(super) fn mamba(loader: &Loader<'_>, layer: usize, hidden: usize, eps: f32) -> Result<Mamba> {
    let keys = &loader.keys;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let channels = keys.count("ssm.inner_size")?;
    let states = keys.count("ssm.state_size")?;
    let rank = keys.count("ssm.time_step_rank")?;
    let width = keys.count("ssm.conv_kernel")?;
    let everywhere = keys.optional_flag("ssm.dt_b_c_rms")?.unwrap_or(false);
    let norm = |name: &str, len: usize| -> Result<Option<Norm>> {
        match loader.has(&base(&format!("{name}.weight"))) {
            true => loader.norm(NormKind::Rms, &base(name), len, eps).map(Some),
            false => Ok(everywhere.then(|| weightless(len, eps))),
        }
    };
    Ok(Mamba {
        input: loader.linear(&base("ssm_in"), hidden, total(loader, &[(2, channels)])?)?,
        convolution: convolution(loader, &base("ssm_conv1d"), width, channels)?,
        parameters: loader.linear(
            &base("ssm_x"),
            channels,
            total(loader, &[(1, rank), (2, states)])?,
        )?,
        time_step: loader.linear(&base("ssm_dt"), rank, channels)?,
        step_norm: norm("ssm_dt_norm", rank)?,
        b_norm: norm("ssm_b_norm", states)?,
        c_norm: norm("ssm_c_norm", states)?,
        a: loader.table(&base("ssm_a"), states, channels)?,
        d: loader.vector(&base("ssm_d"), channels)?,
        output: loader.linear(&base("ssm_out"), channels, hidden)?,
        states,
    })
}

/// The state space of `blk.{layer}` with heads.
pub(super) fn mamba2(loader: &Loader<'_>, layer: usize, hidden: usize, eps: f32) -> Result<Mamba2> {
    let keys = &loader.keys;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let channels = keys.count("ssm.inner_size")?;
    let states = keys.count("ssm.state_size")?;
    let heads = keys.count("ssm.time_step_rank")?;
    let groups = keys.count("ssm.group_count")?;
    let width = keys.count("ssm.conv_kernel")?;
    if !channels.is_multiple_of(heads) || !heads.is_multiple_of(groups) {
        return Err(loader.error(format!(
            "state space: expected channels that are a multiple of heads, and these of groups, found {channels}, {heads} \
             and {groups}"
        )));
    }
    let mixed = total(loader, &[(1, channels), (2 * groups, states)])?;
    let all = total(loader, &[(1, channels), (1, mixed), (1, heads)])?;
    let norm = match loader.has(&base("ssm_norm.weight")) {
        true => Some(Norm {
            kind: NormKind::Rms,
            group: channels / groups,
            weight: loader.table(&base("ssm_norm.weight"), channels / groups, groups)?,
            bias: Vec::new(),
            eps,
            tensor: None,
        }),
        false => None,
    };
    Ok(Mamba2 {
        input: loader.linear(&base("ssm_in"), hidden, all)?,
        convolution: convolution(loader, &base("ssm_conv1d"), width, mixed)?,
        step_bias: loader.vector(&base("ssm_dt.bias"), heads)?,
        a: loader.table(&base("ssm_a"), 1, heads)?,
        d: loader.table(&base("ssm_d"), 1, heads)?,
        norm,
        output: loader.linear(&base("ssm_out"), channels, hidden)?,
        states,
        heads,
        groups,
    })
}
