//! Gemma: embeddings multiplied by the square root of their width, GELU gates.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use crate::Result;
use crate::ops::{Activation, RopeStyle};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let embedding = loader.embedding(hyper.hidden)?;
    let rope = rope(loader, &hyper, RopeStyle::Neox)?;
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        layers.push(Layer {
            attention_norm: loader.rms_norm(&format!("blk.{i}.attn_norm"), hyper.hidden, eps)?,
            attention: hyper.attention(loader, i, Some(rope.clone()), hyper.usual_scale())?,
            attention_post_norm: None,
            mlp_norm: loader.rms_norm(&format!("blk.{i}.ffn_norm"), hyper.hidden, eps)?,
            mlp: Mlp::Dense(Box::new(hyper.feed_forward(loader, i, Activation::Gelu)?)),
            mlp_post_norm: None,
        });
    }
    Ok(Decoder {
        embedding_scale: (hyper.hidden as f32).sqrt(),
        layers,
        output_norm: loader.rms_norm("output_norm", hyper.hidden, eps)?,
        head: loader.head(hyper.hidden, embedding.matrix.outputs)?,
        logit_softcap: None,
        embedding,
    })
}
