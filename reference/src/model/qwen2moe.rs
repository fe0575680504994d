//! Qwen1.5 and Qwen2 mixtures of experts: Qwen2's attention, experts weighed by their probabilities as they
//! are, and a shared expert behind a logistic gate.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, gated, rope};
use crate::Result;
use crate::layers::SharedExpert;
use crate::ops::{Activation, RopeStyle};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let shared_inner = loader
        .keys
        .optional_count("expert_shared_feed_forward_length")?
        .unwrap_or(0);
    let embedding = loader.embedding(hyper.hidden)?;
    let rope = rope(loader, &hyper, RopeStyle::Neox)?;
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let inner = hyper.expert_inner(loader, i)?;
        let mut mixture = hyper.mixture(loader, i, inner, false)?;
        let shared_inner = if shared_inner > 0 {
            shared_inner
        } else {
            hyper.inner(loader, i)?
        };
        mixture.shared = Some(SharedExpert {
            layer: gated(
                loader,
                &format!("blk.{i}.ffn_"),
                "_shexp",
                hyper.hidden,
                shared_inner,
                Activation::Silu,
            )?,
            gate: Some(loader.linear(&format!("blk.{i}.ffn_gate_inp_shexp"), hyper.hidden, 1)?),
        });
        layers.push(Layer::new(
            loader.rms_norm(&format!("blk.{i}.attn_norm"), hyper.hidden, eps)?,
            hyper.attention(loader, i, Some(rope.clone()), hyper.usual_scale())?,
            loader.rms_norm(&format!("blk.{i}.ffn_norm"), hyper.hidden, eps)?,
            Mlp::Mixture(Box::new(mixture)),
        ));
    }
    let output_norm = loader.rms_norm("output_norm", hyper.hidden, eps)?;
    let head = loader.head(hyper.hidden, embedding.matrix.outputs)?;
    Ok(Decoder::new(embedding, layers, output_norm, head))
}
