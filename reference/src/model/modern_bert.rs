//! ModernBERT: an encoder whose norms stand before the halves of a layer; most layers see a window on both sides
//! and are rotated with a base of their own.

use super::classifier::Classifier;
use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, ropes_of_windows};
use crate::Result;
use crate::ops::{Activation, NormKind, RopeStyle};
use crate::weights::Loader;

/// The period of layers that see everything, where the file does not say.
const PERIOD: usize = 3;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let (keys, hidden) = (&loader.keys, hyper.hidden);
    let eps = keys.float("attention.layer_norm_epsilon")?;
    let activation = match keys.optional_str("hidden_activation")? {
        None | Some("gelu") => Activation::GeluErf,
        Some("silu") => Activation::Silu,
        Some(other) => {
            return Err(loader.error(format!(
                "key 'modern-bert.hidden_activation': expected gelu or silu, found {other:?}"
            )));
        }
    };
    let window = keys
        .optional_count("attention.sliding_window")?
        .filter(|&n| n > 0);
    let period = keys
        .optional_count("attention.sliding_window_pattern")?
        .unwrap_or(PERIOD)
        .max(1);
    let (full, local) = ropes_of_windows(loader, &hyper, RopeStyle::Neox)?;
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let norm = |name: &str| loader.norm(NormKind::Layer, &format!("blk.{i}.{name}"), hidden, eps);
        let slides = window.is_some() && !i.is_multiple_of(period);
        let rope = if slides { local.clone() } else { full.clone() };
        let mut attention = hyper.attention(loader, i, Some(rope), hyper.usual_scale())?;
        attention.shape.causal = false;
        attention.shape.window = window.filter(|_| slides);
        let dense = hyper.feed_forward_of_two(loader, i, activation, true)?;
        // The first layer's input is normalized already.
        let attention_norm = match i > 0 || loader.has(&format!("blk.{i}.attn_norm.weight")) {
            true => Some(norm("attn_norm")?),
            false => None,
        };
        let mlp_norm = norm("ffn_norm")?;
        layers.push(Layer {
            attention_norm,
            ..Layer::new(mlp_norm.clone(), attention, mlp_norm, Mlp::Dense(Box::new(dense)))
        });
    }
    let embedding = loader.embedding(hidden)?;
    let output_norm = loader.norm(NormKind::Layer, "output_norm", hidden, eps)?;
    let head = loader.head(hidden, embedding.matrix.outputs)?;
    Ok(Decoder {
        classifier: Classifier::read(loader, hidden)?,
        embedding_norm: Some(loader.norm(NormKind::Layer, "token_embd_norm", hidden, eps)?),
        ..Decoder::new(embedding, layers, output_norm, head)
    })
}
