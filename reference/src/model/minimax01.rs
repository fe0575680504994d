//! MiniMax-Text-01 and MiniMax-M1: linear attention with a fixed decay in most layers, softmax attention in the others,
//! experts in all. What a half makes is added to what it sees.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use super::mixtures::mixture;
use crate::Result;
use crate::layers::{Lightning, Mixer, Scoring};
use crate::ops::RopeStyle;
use crate::weights::Loader;

/// Every so many layers the last has softmax attention, where the file does not say which.
const INTERVAL: usize = 8;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let seen_scale = Some(keys.float("residual_scale")?);
    let rope = rope(loader, &hyper, RopeStyle::Neox)?;
    let linear = linear_layers(loader, &hyper)?;
    let mut layers = Vec::new();
    for (i, is_linear) in linear.into_iter().enumerate().take(hyper.layers) {
        let norm = |name: &str| loader.rms_norm(&format!("blk.{i}.{name}"), hyper.hidden, eps);
        let mixer = match is_linear {
            true => Mixer::Lightning(Box::new(lightning(loader, &hyper, i, eps)?)),
            false => hyper
                .attention(loader, i, Some(rope.clone()), hyper.usual_scale())?
                .into(),
        };
        let mlp = Mlp::Mixture(Box::new(mixture(loader, &hyper, i, Scoring::Softmax, true)?));
        layers.push(Layer {
            seen_scale,
            ..Layer::new(norm("attn_norm")?, mixer, norm("ffn_norm")?, mlp)
        });
    }
    Decoder::of_layers(loader, hyper.hidden, eps, layers)
}

/// Which layers have linear attention.
fn linear_layers(loader: &Loader<'_>, hyper: &Hyperparameters) -> Result<Vec<bool>> {
    let keys = &loader.keys;
    if let Some(flags) = keys.optional_flags("attention.recurrent_layers", hyper.blocks)? {
        return Ok(flags);
    }
    let interval = keys
        .optional_count("full_attention_interval")?
        .unwrap_or(INTERVAL);
    if interval == 0 {
        return Err(loader.keys.refused("full_attention_interval", "at least 1", 0));
    }
    Ok((0..hyper.layers)
        .map(|i| !(i + 1).is_multiple_of(interval))
        .collect())
}

/// Decay slopes fall over the heads as ALiBi's do, and over the layers to almost nothing.
fn lightning(loader: &Loader<'_>, hyper: &Hyperparameters, layer: usize, eps: f32) -> Result<Lightning> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    let (heads, _) = hyper.heads(loader, layer)?;
    let len = hyper.key_len;
    if hyper.value_len != len {
        let expected = format!("the {len} of attention.key_length");
        return Err(loader
            .keys
            .refused("attention.value_length", expected, hyper.value_len));
    }
    let all = heads.checked_mul(len).filter(|n| n.checked_mul(3).is_some());
    let all = all.ok_or_else(|| loader.error(format!("{heads} heads of {len} elements are too many")))?;
    let first = (-(-((heads as f32).log2() - 3.0)).exp2()).exp2();
    let last = hyper.layers.saturating_sub(1).max(1) as f64;
    let of_layer = (1.0 - layer as f64 / last + 1e-5) as f32;
    Ok(Lightning {
        input: loader.linear(&base("attn_qkv"), hyper.hidden, 3 * all)?,
        gate: loader.linear(&base("attn_gate"), hyper.hidden, all)?,
        norm: loader.rms_norm(&base("attn_norm_2"), all, eps)?,
        output: loader.linear(&base("attn_output"), all, hyper.hidden)?,
        slopes: (0..heads)
            .map(|head| first * first.powf(head as f32) * of_layer)
            .collect(),
        head_len: len,
    })
}
