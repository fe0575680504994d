//! Qwen3 mixtures of experts: Qwen3's attention, the chosen experts' weights divided by their sum.

use super::decoder::{Decoder, Layer, Mlp};
use super::dense::with_head_norms;
use super::hyperparameters::{Hyperparameters, rope};
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
        layers.push(Layer::new(
            loader.rms_norm(&format!("blk.{i}.attn_norm"), hyper.hidden, eps)?,
            with_head_norms(loader, i, &hyper, eps, attention)?,
            loader.rms_norm(&format!("blk.{i}.ffn_norm"), hyper.hidden, eps)?,
            Mlp::Mixture(Box::new(hyper.mixture(loader, i, inner, true)?)),
        ));
    }
    let output_norm = loader.rms_norm("output_norm", hyper.hidden, eps)?;
    let head = loader.head(hyper.hidden, embedding.matrix.outputs)?;
    Ok(Decoder::new(embedding, layers, output_norm, head))
}
