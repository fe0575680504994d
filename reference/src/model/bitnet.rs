//! BitNet b1.58: Llama with a norm before the last matrix of each half of a layer; the embedding is the output matrix.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use crate::Result;
use crate::ops::{Activation, RopeStyle};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let rope = rope(loader, &hyper, RopeStyle::Neox)?;
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let norm = |name: &str, len: usize| loader.rms_norm(&format!("blk.{i}.{name}"), len, eps);
        let mut attention = hyper.attention(loader, i, Some(rope.clone()), hyper.usual_scale())?;
        attention.mixed_norm = Some(norm("attn_sub_norm", hyper.hidden)?);
        let mut dense = hyper.feed_forward(loader, i, Activation::Silu)?;
        dense.inner_norm = Some(norm("ffn_sub_norm", hyper.inner(loader, i)?)?);
        layers.push(Layer::new(
            norm("attn_norm", hyper.hidden)?,
            attention,
            norm("ffn_norm", hyper.hidden)?,
            Mlp::Dense(Box::new(dense)),
        ));
    }
    let embedding = loader.embedding(hyper.hidden)?;
    let head = loader.head(hyper.hidden, embedding.matrix.outputs)?;
    let output_norm = loader.rms_norm("output_norm", hyper.hidden, eps)?;
    Ok(Decoder::new(embedding, layers, output_norm, head))
}
