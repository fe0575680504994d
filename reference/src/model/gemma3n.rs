//! Gemma 3n (text): copies of the state between which each layer moves what it finds, a low-rank branch beside attention,
//! vectors for each layer, gates cut off at a deviation, the latest layers on earlier ones' keys and values.

use std::sync::Arc;

use super::decoder::{Decoder, Layer, Mlp};
use super::gemma4::per_layer_inputs;
use super::hyperparameters::{Hyperparameters, rope_settings, sliding_layers};
use super::mixtures::weightless;
use crate::Result;
use crate::layers::{AltUp, Attention, Copies, FeedForward, Gate, PerLayer, Projections};
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
    let count = keys.optional_count("altup.num_inputs")?.unwrap_or(COPIES);
    let active = keys.optional_count("altup.active_idx")?.unwrap_or(0);
    if !(2..=MAX_HEAD).contains(&count) || active >= count {
        return Err(loader.error(format!(
            "altup.num_inputs and altup.active_idx: found copy {active} of {count}, expected one of 2 to {MAX_HEAD}"
        )));
    }
    let width = keys
        .optional_count("embedding_length_per_layer_input")?
        .unwrap_or(WIDTH);
    if width != WIDTH {
        return Err(loader.error(format!(
            "embedding_length_per_layer_input: expected {WIDTH}, which llama.cpp has fixed, found {width}"
        )));
    }
    let shared = keys.optional_count("attention.shared_kv_layers")?.unwrap_or(0);
    let own = hyper
        .layers
        .checked_sub(shared)
        .filter(|&n| n > 0)
        .ok_or_else(|| {
            loader.error(format!(
                "attention.shared_kv_layers: found {shared}, expected fewer than {} layers",
                hyper.layers
            ))
        })?;
    let lender = |slides: bool| (0..own).rev().find(|&i| sliding[i] == slides);
    if let Some(i) = (own..hyper.layers).find(|&i| lender(sliding[i]).is_none()) {
        return Err(loader.error(format!(
            "attention.shared_kv_layers: found {shared}, but no layer before has keys and values for layer {i}"
        )));
    }
    let deviations = keys.optional_floats("activation_sparsity_scale", hyper.blocks)?;
    let full = rope_settings(loader, &hyper, RopeStyle::Neox)?;
    let mut local = full.clone();
    local.base = f64::from(keys.optional_positive("rope.freq_base_swa")?.unwrap_or(10000.0));
    local.frequency_scale = 1.0;
    let (full, local) = (Arc::new(Rope::new(&full)), Arc::new(Rope::new(&local)));
    let hidden = hyper.hidden;
    let square = count.saturating_mul(count);
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
        let altup = AltUp {
            count,
            active,
            router_norm: norm("altup_router_norm")?,
            router: loader.linear(&base("altup_router"), hidden, count)?,
            predict: loader.linear(&base("altup_predict_coef"), count, square)?,
            correct: loader.linear(&base("altup_correct_coef"), count, count)?,
            scale: loader.vector(&base("altup_correct_scale.weight"), hidden)?,
            down: loader.linear(&base("laurel_l"), hidden, RANK)?,
            up: loader.linear(&base("laurel_r"), RANK, hidden)?,
            norm: norm("laurel_post_norm")?,
        };
        layers.push(Layer {
            attention_post_norm: Some(norm("post_attention_norm")?),
            mlp_post_norm: Some(norm("post_ffw_norm")?),
            per_layer: Some(Box::new(PerLayer {
                layer: i,
                gate: loader.linear(&base("inp_gate"), hidden, width)?,
                up: loader.linear(&base("proj"), width, hidden)?,
                norm: norm("post_norm")?,
            })),
            copies: Some(Box::new(altup)),
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
        let Projections::Separate { query, .. } = attention.projections else {
            return Err(loader.error(format!(
                "tensor {}: expected queries, keys and values apart in a layer that borrows keys and values",
                base("attn_qkv.weight")
            )));
        };
        attention.projections = Projections::Borrowed { query };
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
