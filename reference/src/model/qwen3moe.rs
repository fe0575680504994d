//! Qwen3 mixtures of experts: Qwen3's attention, the chosen experts' weights divided by their sum.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use super::qwen3::with_head_norms;
use crate::Result;
use crate::ops::RopeStyle;
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let embedding = loader.embedding(hyper.hidden)?;
    let rope = rope(loader, &hyper, RopeStyle::Neox)?;
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let attention = hyper.attention(loader, i, Some(rope.clone()), hyper.usual_scale())?;
        let inner = hyper.expert_inner(loader, i)?;
        layers.push(Layer {
            attention_norm: loader.rms_norm(&format!("blk.{i}.attn_norm"), hyper.hidden, eps)?,
            attention: with_head_norms(loader, i, &hyper, eps, attention)?,
            attention_post_norm: None,
            mlp_norm: loader.rms_norm(&format!("blk.{i}.ffn_norm"), hyper.hidden, eps)?,
            mlp: Mlp::Mixture(Box::new(hyper.mixture(loader, i, inner, true)?)),
            mlp_post_norm: None,
        });
    }
    Ok(Decoder {
        embedding_scale: 1.0,
        layers,
        output_norm: loader.rms_norm("output_norm", hyper.hidden, eps)?,
        head: loader.head(hyper.hidden, embedding.matrix.outputs)?,
        logit_softcap: None,
        embedding,
    })
}
