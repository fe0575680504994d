//! Talkie: norms without weights, queries and keys normalized behind the rotation, and the embeddings once more behind
//! every layer.

use super::decoder::{Decoder, Layer, Mlp, Stream, Streams};
use super::hyperparameters::{Hyperparameters, rope};
use super::mixtures::weightless;
use crate::Result;
use crate::ops::{Activation, Norm, RopeStyle};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let rope = rope(loader, &hyper, RopeStyle::Neox)?;
    let plain = || weightless(hyper.hidden, eps);
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let (heads, _) = hyper.heads(loader, i)?;
        // One number for each head.
        let gains = loader.numbers(&format!("blk.{i}.attn_q_norm.weight"), &[1, heads])?;
        let mut attention = hyper.attention(loader, i, Some(rope.clone()), hyper.usual_scale())?;
        attention.query_norm = Some(Norm {
            weight: gains
                .iter()
                .flat_map(|&gain| std::iter::repeat_n(gain, hyper.key_len))
                .collect(),
            ..weightless(hyper.key_len, eps)
        });
        attention.key_norm = Some(weightless(hyper.key_len, eps));
        attention.norms_follow_rope = true;
        let mlp = Mlp::Dense(Box::new(hyper.feed_forward(loader, i, Activation::Silu)?));
        let skip = loader.vector(&format!("blk.{i}.layer_output_scale.weight"), 1)?;
        layers.push(Layer {
            stream: Stream::Added(skip[0]),
            ..Layer::new(plain(), attention, plain(), mlp)
        });
    }
    let embedding = loader.embedding(hyper.hidden)?;
    let head = loader.linear("output", hyper.hidden, embedding.matrix.outputs)?;
    Ok(Decoder {
        embedding_norm: Some(plain()),
        streams: Streams::Embeddings,
        logit_scale: loader.keys.float("logit_scale")?,
        ..Decoder::new(embedding, layers, plain(), head)
    })
}
