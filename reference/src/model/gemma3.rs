//! Gemma 3 (text): Gemma 2's layers with norms of query and key heads in place of capped scores, and five
//! sliding layers, rotated with their own base, for each full one.

use std::sync::Arc;

use super::decoder::{Decoder, Layer, Mlp};
use super::dense::with_head_norms;
use super::hyperparameters::{Hyperparameters, rope_settings, sliding_layers, unscaled_rope};
use crate::Result;
use crate::layers::Linear;
use crate::ops::{Activation, Rope, RopeStyle};
use crate::weights::Loader;

/// Layers of the 27B model, whose scores are scaled by hidden size over heads instead of the head's length.
const LAYERS_27B: usize = 62;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    layers_of(loader, true)
}

/// EmbeddingGemma: every token sees all others, in sliding layers those on both sides.
pub(super) fn embedding(loader: &Loader<'_>) -> Result<Decoder> {
    layers_of(loader, false)
}

fn layers_of(loader: &Loader<'_>, causal: bool) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let modules = modules(loader, hyper.hidden)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let logit_cap = keys
        .optional_float("final_logit_softcapping")?
        .filter(|&c| c > 0.0);
    let window = keys
        .optional_count("attention.sliding_window")?
        .filter(|&n| n > 0);
    let sliding = match window {
        Some(_) => sliding_layers(loader, &hyper, 6)?,
        None => vec![],
    };
    let scale = match hyper.layers {
        LAYERS_27B => hyper.scale_by_heads(loader)?,
        _ => hyper.usual_scale(),
    };
    let embedding = loader.embedding(hyper.hidden)?;
    let full = rope_settings(loader, &hyper, RopeStyle::Neox)?;
    let local = unscaled_rope(loader, &full)?;
    let (full, local) = (Arc::new(Rope::new(&full)), Arc::new(Rope::new(&local)));
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let norm = |name: &str| loader.rms_norm(&format!("blk.{i}.{name}"), hyper.hidden, eps);
        let slides = sliding.get(i).copied().unwrap_or(false);
        let rope = if slides { local.clone() } else { full.clone() };
        let mut attention = hyper.attention(loader, i, Some(rope), scale)?;
        attention.shape.window = window.filter(|_| slides);
        attention.shape.causal = causal;
        let layer = Layer::new(
            norm("attn_norm")?,
            with_head_norms(loader, i, &hyper, eps, attention)?,
            norm("ffn_norm")?,
            Mlp::Dense(Box::new(hyper.feed_forward(loader, i, Activation::Gelu)?)),
        );
        layers.push(Layer {
            attention_post_norm: Some(norm("post_attention_norm")?),
            mlp_post_norm: Some(norm("post_ffw_norm")?),
            ..layer
        });
    }
    let output_norm = loader.rms_norm("output_norm", hyper.hidden, eps)?;
    let head = loader.head(hyper.hidden, embedding.matrix.outputs)?;
    Ok(Decoder {
        embedding_scale: (hyper.hidden as f32).sqrt(),
        logit_softcap: logit_cap,
        modules,
        ..Decoder::new(embedding, layers, output_norm, head)
    })
}

/// Modules of sentence-transformers behind the pooling, of which the second makes embeddings as wide as the states.
fn modules(loader: &Loader<'_>, hidden: usize) -> Result<Vec<Linear>> {
    let mut modules: Vec<Linear> = Vec::new();
    for name in ["dense_2", "dense_3"] {
        if loader.has(&format!("{name}.weight")) {
            let inputs = modules.last().map_or(hidden, |module| module.matrix.outputs);
            modules.push(loader.plain_linear(name, inputs, loader.outputs_of(name)?)?);
        }
    }
    Ok(modules)
}
