//! PLM and MiniCPM 3: keys and values out of a shorter vector, before dense layers.

use super::decoder::{Decoder, Layer, Mlp};
use super::deepseek2::latent_query;
use super::hyperparameters::{Hyperparameters, rope};
use crate::Result;
use crate::layers::{Attention, Compressed, Projections};
use crate::ops::{Activation, AttentionShape, RopeStyle};
use crate::weights::Loader;

/// PLM: no gates in the second half.
pub(super) fn plm(loader: &Loader<'_>) -> Result<Decoder> {
    build(loader, RopeStyle::Norm, |hyper, layer| {
        hyper.feed_forward_of_two(loader, layer, Activation::SquaredRelu, false)
    })
}

/// Factors of MiniCPM 3, which its files do not have, and the hidden size that its logits are scaled to.
const EMBEDDING_SCALE: f32 = 12.0;
const DEPTH_SCALE: f32 = 1.4;
const BASE_WIDTH: f32 = 256.0;

pub(super) fn minicpm3(loader: &Loader<'_>) -> Result<Decoder> {
    let decoder = build(loader, RopeStyle::Neox, |hyper, layer| {
        hyper.feed_forward(loader, layer, Activation::Silu)
    })?;
    let scale = DEPTH_SCALE / (decoder.layers.len().max(1) as f32).sqrt();
    let hidden = decoder.embedding.matrix.inputs as f32;
    let layers = decoder.layers.into_iter().map(|layer| Layer {
        residual_scale: scale,
        ..layer
    });
    Ok(Decoder {
        layers: layers.collect(),
        embedding_scale: EMBEDDING_SCALE,
        logit_scale: BASE_WIDTH / hidden,
        ..decoder
    })
}

fn build(
    loader: &Loader<'_>,
    style: RopeStyle,
    dense: impl Fn(&Hyperparameters, usize) -> Result<crate::layers::FeedForward>,
) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let rope = rope(loader, &hyper, style)?;
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let mut attention = attention(loader, &hyper, i, eps)?;
        attention.rope = Some(rope.clone());
        layers.push(Layer::new(
            loader.rms_norm(&format!("blk.{i}.attn_norm"), hyper.hidden, eps)?,
            attention,
            loader.rms_norm(&format!("blk.{i}.ffn_norm"), hyper.hidden, eps)?,
            Mlp::Dense(Box::new(dense(&hyper, i)?)),
        ));
    }
    Decoder::of_layers(loader, hyper.hidden, eps, layers)
}

fn attention(loader: &Loader<'_>, hyper: &Hyperparameters, layer: usize, eps: f32) -> Result<Attention> {
    let keys = &loader.keys;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let (heads, kv) = hyper.heads(loader, layer)?;
    let (key_len, value_len, rotated) = (hyper.key_len, hyper.value_len, hyper.rotated);
    if heads != kv || rotated >= key_len {
        return Err(loader.error(format!(
            "attention of layer {layer}: expected as many heads of queries as of keys and values, and fewer than {key_len} \
             rotated elements, found {heads}, {kv} and {rotated}"
        )));
    }
    let product = |heads: usize, len: usize| loader.all_heads(heads, len);
    let queries = product(heads, key_len)?;
    let query = latent_query(loader, hyper, layer, queries, eps)?;
    let rank = keys.count("attention.kv_lora_rank")?;
    let both = product(heads, key_len - rotated + value_len)?;
    let compressed = Compressed {
        query,
        down: loader.linear(&base("attn_kv_a_mqa"), hyper.hidden, rank.saturating_add(rotated))?,
        norm: loader.rms_norm(&base("attn_kv_a_norm"), rank, eps)?,
        up: loader.linear(&base("attn_kv_b"), rank, both)?,
        rotated,
    };
    let mixed = product(heads, value_len)?;
    Ok(Attention::new(
        Projections::Compressed(Box::new(compressed)),
        loader.linear(&base("attn_output"), mixed, hyper.hidden)?,
        None,
        AttentionShape::plain(heads, heads, key_len, value_len, hyper.usual_scale()),
    ))
}
