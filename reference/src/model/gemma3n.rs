//! Gemma 3n (text): copies of the state between which each layer moves what it finds, a low-rank branch beside attention,
//! vectors for each layer, gates cut off at a deviation, the latest layers on earlier ones' keys and values.

use std::sync::Arc;

use super::decoder::{Decoder, Layer, Mlp};
use super::gemma4::{per_layer, per_layer_inputs};
use super::hyperparameters::{Hyperparameters, rope_settings, sliding_layers, unscaled_rope};
use super::mixtures::weightless;
use crate::Result;
use crate::layers::{AltUp, Attention, Copies, FeedForward, Gate, Projections};
use crate::ops::{Activation, Rope, RopeStyle};
use crate::weights::{Loader, MAX_HEAD};

/// Rank of the branch beside attention, which no key gives.
const RANK: usize = 64;
/// Copies of the state where the file does not say.
const COPIES: usize = 4;
/// Width of the vectors for each layer, for which llama.cpp does not read the key.
const WIDTH: usize = 256;
/// The places where sliding and full layers keep keys and values for those that have none.
const SLIDING: usize = 0;
const FULL: usize = 1;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let window = keys.count("attention.sliding_window")?;
    let sliding = sliding_layers(loader, &hyper, 5)?;
    let (active, count) = copies(loader)?;
    let width = keys
        .optional_count("embedding_length_per_layer_input")?
        .unwrap_or(WIDTH);
    if width != WIDTH {
        let expected = format!("{WIDTH}, which llama.cpp has fixed");
        return Err(keys.refused("embedding_length_per_layer_input", expected, width));
    }
    let shared = keys.optional_count("attention.shared_kv_layers")?.unwrap_or(0);
    let own = hyper
        .layers
        .checked_sub(shared)
        .filter(|&n| n > 0)
        .ok_or_else(|| {
            let expected = format!("fewer than {} layers", hyper.layers);
            keys.refused("attention.shared_kv_layers", expected, shared)
        })?;
    let lender = |slides: bool| (0..own).rev().find(|&i| sliding[i] == slides);
    if let Some(i) = (own..hyper.layers).find(|&i| lender(sliding[i]).is_none()) {
        let expected = format!("layers before them with keys and values for layer {i}");
        return Err(keys.refused("attention.shared_kv_layers", expected, shared));
    }
    let deviations = keys.optional_floats("activation_sparsity_scale", hyper.blocks)?;
    let full = rope_settings(loader, &hyper, RopeStyle::Neox)?;
    let local = unscaled_rope(loader, &full)?;
    let (full, local) = (Arc::new(Rope::new(&full)), Arc::new(Rope::new(&local)));
    let hidden = hyper.hidden;
    let mut layers = Vec::new();
    for (i, &slides) in sliding.iter().enumerate() {
        let base = |name: &str| format!("blk.{i}.{name}");
        let norm = |name: &str| loader.rms_norm(&base(name), hidden, eps);
        let rope = if slides { local.clone() } else { full.clone() };
        let mut attention = attention(loader, &hyper, i, eps, rope, i >= own)?;
        attention.shape.window = slides.then_some(window);
        let slot = if slides { SLIDING } else { FULL };
        attention.slot = (shared > 0 && (i >= own || lender(slides) == Some(i))).then_some(slot);
        let above = deviations.as_ref().map(|d| d[i]).filter(|d| d.is_finite());
        layers.push(Layer {
            attention_post_norm: Some(norm("post_attention_norm")?),
            mlp_post_norm: Some(norm("post_ffw_norm")?),
            per_layer: Some(Box::new(per_layer(loader, i, hidden, width, eps)?)),
            copies: Some(Box::new(altup(loader, i, hidden, active, count, eps)?)),
            ..Layer::new(
                norm("attn_norm")?,
                attention,
                norm("ffn_norm")?,
                Mlp::Dense(Box::new(feed_forward(loader, &hyper, i, above)?)),
            )
        });
    }
    let embedding = loader.embedding(hidden)?;
    let head = loader.head(hidden, embedding.matrix.outputs)?;
    Ok(Decoder {
        embedding_scale: (hidden as f32).sqrt(),
        logit_softcap: Some(keys.optional_positive("final_logit_softcapping")?.unwrap_or(30.0)),
        per_layer: Some(per_layer_inputs(loader, &hyper, width, eps)?),
        copies: Some(Copies {
            count,
            active,
            from: loader.experts("altup_proj", hidden, hidden, count - 1)?,
            to: loader.experts("altup_unembd_proj", hidden, hidden, count - 1)?,
        }),
        ..Decoder::new(
            embedding,
            layers,
            loader.rms_norm("output_norm", hidden, eps)?,
            head,
        )
    })
}

/// The active one of the copies of the state, and how many there are.
fn copies(loader: &Loader<'_>) -> Result<(usize, usize)> {
    let count = loader.keys.optional_count("altup.num_inputs")?.unwrap_or(COPIES);
    let active = loader.keys.optional_count("altup.active_idx")?.unwrap_or(0);
    match (2..=MAX_HEAD).contains(&count) && active < count {
        true => Ok((active, count)),
        false => Err(loader.error(format!(
            "keys 'gemma3n.altup.num_inputs' and 'gemma3n.altup.active_idx': expected a copy of 2 to {MAX_HEAD}, found \
             copy {active} of {count}"
        ))),
    }
}

/// Exchange between the copies, and the low-rank branch beside attention.
fn altup(
    loader: &Loader<'_>,
    layer: usize,
    hidden: usize,
    active: usize,
    count: usize,
    eps: f32,
) -> Result<AltUp> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    let norm = |name: &str| loader.rms_norm(&base(name), hidden, eps);
    Ok(AltUp {
        count,
        active,
        router_norm: norm("altup_router_norm")?,
        router: loader.linear(&base("altup_router"), hidden, count)?,
        predict: loader.linear(&base("altup_predict_coef"), count, count.saturating_mul(count))?,
        correct: loader.linear(&base("altup_correct_coef"), count, count)?,
        scale: loader.vector(&base("altup_correct_scale.weight"), hidden)?,
        down: loader.linear(&base("laurel_l"), hidden, RANK)?,
        up: loader.linear(&base("laurel_r"), RANK, hidden)?,
        norm: norm("laurel_post_norm")?,
    })
}

/// Scores are not scaled, values have norms without weights. A layer that borrows keys and values has matrices for them
/// all the same.
fn attention(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    eps: f32,
    rope: Arc<Rope>,
    borrows: bool,
) -> Result<Attention> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    let norm = |name: &str| loader.rms_norm(&base(name), hyper.key_len, eps).map(Some);
    let mut attention = hyper.attention(loader, layer, Some(rope), 1.0)?;
    attention.query_norm = norm("attn_q_norm")?;
    attention.key_norm = norm("attn_k_norm")?;
    attention.value_norm = Some(weightless(hyper.value_len, eps));
    if borrows {
        if let Projections::Separate { query, .. } | Projections::Fused(query) = attention.projections {
            attention.projections = Projections::Borrowed { query };
        }
        attention.key_norm = None;
        attention.value_norm = None;
    }
    Ok(attention)
}

fn feed_forward(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    deviations: Option<f32>,
) -> Result<FeedForward> {
    let mut dense = hyper.feed_forward(loader, layer, Activation::Gelu)?;
    if let (Some(deviations), Gate::Separate(linear)) = (deviations, &dense.gate) {
        dense.gate = Gate::Sparse(linear.clone(), deviations);
    }
    Ok(dense)
}
