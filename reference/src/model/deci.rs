//! DeciLM and Llama-Nemotron: Llama whose layers have numbers of heads and widths of their own, a matrix in place of
//! attention, or lack a half.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use crate::Result;
use crate::layers::Mixer;
use crate::ops::{Activation, RopeStyle};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let scale = keys
        .optional_positive("attention.scale")?
        .unwrap_or(hyper.usual_scale());
    let rope = rope(loader, &hyper, RopeStyle::Norm)?;
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let base = |name: &str| format!("blk.{i}.{name}");
        let norm = |name: &str| loader.rms_norm(&base(name), hyper.hidden, eps);
        let (attention_norm, attention) = match hyper.heads_or_none(i) {
            (0, _) => (None, Mixer::None),
            (_, 0) => {
                let matrix = loader.linear(&base("attn_output"), hyper.hidden, hyper.hidden)?;
                (Some(norm("attn_norm")?), Mixer::Linear(Box::new(matrix)))
            }
            _ => {
                let attention = hyper.attention(loader, i, Some(rope.clone()), scale)?;
                (Some(norm("attn_norm")?), attention.into())
            }
        };
        let (mlp_norm, mlp) = match hyper.inner_or_none(i) {
            0 => (None, Mlp::None),
            _ => {
                let dense = hyper.feed_forward(loader, i, Activation::Silu)?;
                (Some(norm("ffn_norm")?), Mlp::Dense(Box::new(dense)))
            }
        };
        layers.push(Layer {
            attention_norm,
            mlp_norm,
            ..Layer::without_norms(attention, mlp)
        });
    }
    Decoder::of_layers(loader, hyper.hidden, eps, layers)
}
