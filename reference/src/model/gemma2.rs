//! Gemma 2: norms also of what attention and feed-forward add, capped scores and logits, and a sliding window
//! in every other layer.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, ropes_of_windows, sliding_layers};
use crate::Result;
use crate::ops::{Activation, RopeStyle};
use crate::weights::Loader;

/// Layers of the 27B model, whose scores are scaled by hidden size over heads instead of the head's length.
const LAYERS_27B: usize = 46;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let score_cap = keys.optional_positive("attn_logit_softcapping")?.unwrap_or(50.0);
    let logit_cap = keys.optional_positive("final_logit_softcapping")?.unwrap_or(30.0);
    let window = keys.optional_count("attention.sliding_window")?.unwrap_or(4096);
    let sliding = sliding_layers(loader, &hyper, 2)?;
    let scale = match hyper.layers {
        LAYERS_27B => hyper.scale_by_heads(loader)?,
        _ => hyper.usual_scale(),
    };
    let embedding = loader.embedding(hyper.hidden)?;
    let (full, local) = ropes_of_windows(loader, &hyper, RopeStyle::Neox)?;
    let mut layers = Vec::new();
    for (i, &slides) in sliding.iter().enumerate() {
        let norm = |name: &str| loader.rms_norm(&format!("blk.{i}.{name}"), hyper.hidden, eps);
        let rope = if slides { local.clone() } else { full.clone() };
        let mut attention = hyper.attention(loader, i, Some(rope), scale)?;
        attention.shape.softcap = Some(score_cap);
        attention.shape.window = (slides && window > 0).then_some(window);
        let layer = Layer::new(
            norm("attn_norm")?,
            attention,
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
        logit_softcap: Some(logit_cap),
        ..Decoder::new(embedding, layers, output_norm, head)
    })
}
