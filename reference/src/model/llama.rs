//! Llama: also Mistral, Mixtral and the many models published under Llama's architecture.
//!
//! Rotation of neighbouring elements (the converter reorders the rows), optional biases, and experts in place
//! of the dense part when `expert_count` says so.

use super::decoder::{Decoder, Layer, Mlp};
use super::dense::causal;
use super::hyperparameters::{Hyperparameters, rope};
use crate::Result;
use crate::layers::QueryGrowth;
use crate::ops::{Activation, RopeStyle};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let scale = loader
        .keys
        .optional_positive("attention.scale")?
        .unwrap_or(hyper.usual_scale());
    let experts = loader.keys.optional_count("expert_count")?.unwrap_or(0);
    let embedding = loader.embedding(hyper.hidden)?;
    let rope = rope(loader, &hyper, RopeStyle::Norm)?;
    let growth = query_growth(loader)?;
    let mut layers = Vec::new();
    let causal = causal(loader)?;
    for i in 0..hyper.layers {
        let mut attention = hyper.attention(loader, i, Some(rope.clone()), scale)?;
        attention.shape.causal = causal;
        attention.query_scale = growth;
        layers.push(Layer::new(
            loader.rms_norm(&format!("blk.{i}.attn_norm"), hyper.hidden, eps)?,
            attention,
            loader.rms_norm(&format!("blk.{i}.ffn_norm"), hyper.hidden, eps)?,
            match experts {
                0 => Mlp::Dense(Box::new(hyper.feed_forward(loader, i, Activation::Silu)?)),
                _ => {
                    let inner = hyper.inner(loader, i)?;
                    Mlp::Mixture(Box::new(hyper.mixture(loader, i, inner, true)?))
                }
            },
        ));
    }
    let output_norm = loader.rms_norm("output_norm", hyper.hidden, eps)?;
    let head = loader.head(hyper.hidden, embedding.matrix.outputs)?;
    Ok(Decoder::new(embedding, layers, output_norm, head))
}

/// Ministral 3's queries grow beyond the context of the original training.
fn query_growth(loader: &Loader<'_>) -> Result<Option<QueryGrowth>> {
    let factor = loader
        .keys
        .optional_float("attention.temperature_scale")?
        .unwrap_or(0.0);
    if factor == 0.0 || loader.keys.architecture() != "mistral3" {
        return Ok(None);
    }
    let step = loader.keys.count("rope.scaling.original_context_length")?;
    if step == 0 {
        return Err(loader
            .keys
            .refused("rope.scaling.original_context_length", "at least 1", 0));
    }
    Ok(Some(QueryGrowth {
        step,
        first: 0,
        factor,
    }))
}
