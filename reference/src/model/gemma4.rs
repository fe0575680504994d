//! Gemma 4 (text): sliding layers with heads and a rotation of their own, the latest layers on earlier ones' keys and
//! values, vectors for each layer in the small models, experts beside a dense layer in one.

use std::sync::Arc;

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope_settings, unscaled_rope};
use super::mixtures::weightless;
use crate::Result;
use crate::layers::{
    Attention, BesideExperts, Mixer, Mixture, PerLayer, PerLayerInputs, Projections, Scoring,
};
use crate::ops::{Activation, AttentionShape, Norm, Rope, RopeSettings, RopeStyle};
use crate::weights::{Loader, MAX_HEAD};

/// The places where sliding and full layers keep keys and values for those that have none.
pub(crate) const SLIDING: usize = 0;
pub(crate) const FULL: usize = 1;

/// Dimensions that the layers of one kind share.
struct Kind {
    hyper: Hyperparameters,
    rope: Arc<Rope>,
    window: Option<usize>,
    slot: usize,
}

/// The layers of an assistant ([`crate::Draft`]), all of which borrow keys and values: queries stand one position behind the
/// last key that they see.
pub(crate) fn borrowing_layers(loader: &Loader<'_>) -> Result<Vec<Layer>> {
    let hyper = Hyperparameters::of_all_layers(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let settings = rope_settings(loader, &hyper, RopeStyle::Neox)?;
    let sliding = keys.optional_flags("attention.sliding_window_pattern", hyper.blocks)?;
    let sliding = sliding.ok_or_else(|| keys.missing("attention.sliding_window_pattern"))?;
    let mut local = sliding_kind(loader, &hyper, &settings)?;
    local.window = match local.window {
        None | Some(0 | 1) => {
            return Err(keys.refused(
                "attention.sliding_window",
                "at least 2",
                format!("{:?}", local.window),
            ));
        }
        Some(window) => Some(window - 1),
    };
    let full = Kind {
        rope: Arc::new(Rope::new(&settings)),
        window: None,
        slot: FULL,
        hyper,
    };
    let kinds = sliding
        .into_iter()
        .map(|slides| if slides { &local } else { &full });
    kinds
        .enumerate()
        .map(|(i, kind)| layer(loader, &full.hyper, kind, i, eps, Some(kind.slot)))
        .collect()
}

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let settings = rope_settings(loader, &hyper, RopeStyle::Neox)?;
    let hidden = hyper.hidden;
    let sliding = keys.optional_flags("attention.sliding_window_pattern", hyper.blocks)?;
    let sliding = sliding.ok_or_else(|| keys.missing("attention.sliding_window_pattern"))?;
    let shared = keys.optional_count("attention.shared_kv_layers")?.unwrap_or(0);
    let lends = shared > 0;
    let own = hyper.layers.saturating_sub(shared);
    let lenders = own.checked_sub(2).map(|first| (sliding[first], sliding[own - 1]));
    if lends && lenders != Some((true, false)) {
        return Err(keys.refused(
            "attention.shared_kv_layers",
            "a sliding and a full layer before them",
            format!("{shared} of {} layers", hyper.layers),
        ));
    }
    let width = keys
        .optional_count("embedding_length_per_layer_input")?
        .unwrap_or(0);
    let local = sliding_kind(loader, &hyper, &settings)?;
    let full = Kind {
        rope: Arc::new(Rope::new(&settings)),
        window: None,
        slot: FULL,
        hyper,
    };
    let mut layers = Vec::new();
    for (i, &slides) in sliding.iter().enumerate().take(full.hyper.layers) {
        let kind = if slides { &local } else { &full };
        let slot = (lends && i + 2 >= own).then_some(kind.slot);
        let mut layer = layer(loader, &full.hyper, kind, i, eps, slot.filter(|_| i >= own))?;
        if let Mixer::Attention(attention) = &mut layer.attention {
            attention.slot = slot;
        }
        layer.per_layer = match width {
            0 => None,
            width => Some(Box::new(per_layer(loader, i, hidden, width, eps)?)),
        };
        layers.push(layer);
    }
    let embedding = loader.embedding(hidden)?;
    let head = loader.head(hidden, embedding.matrix.outputs)?;
    Ok(Decoder {
        embedding_scale: (hidden as f32).sqrt(),
        logit_softcap: keys.optional_positive("final_logit_softcapping")?,
        per_layer: match width {
            0 => None,
            width => Some(per_layer_inputs(loader, &full.hyper, width, eps)?),
        },
        ..Decoder::new(
            embedding,
            layers,
            loader.rms_norm("output_norm", hidden, eps)?,
            head,
        )
    })
}

/// One layer without a vector of its own. `borrows`: the place of the keys and values that it has from an earlier one.
fn layer(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    kind: &Kind,
    layer: usize,
    eps: f32,
    borrows: Option<usize>,
) -> Result<Layer> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    let norm = |name: &str| loader.rms_norm(&base(name), hyper.hidden, eps);
    let mut attention = attention(loader, kind, layer, eps, borrows.is_some())?;
    attention.slot = borrows;
    let (mlp_norm, mlp) = second_half(loader, hyper, layer, eps)?;
    let scale = loader.optional_vector(&base("layer_output_scale.weight"), 1)?;
    Ok(Layer {
        attention_post_norm: Some(norm("post_attention_norm")?),
        mlp_norm,
        mlp_post_norm: Some(norm("post_ffw_norm")?),
        output_scale: scale.map_or(1.0, |s| s[0]),
        ..Layer::new(norm("attn_norm")?, attention, weightless(hyper.hidden, eps), mlp)
    })
}

/// Dimensions of sliding layers, whose rotation has a base of its own and is not scaled.
fn sliding_kind(loader: &Loader<'_>, hyper: &Hyperparameters, full: &RopeSettings) -> Result<Kind> {
    let keys = &loader.keys;
    let mut hyper = hyper.clone();
    hyper.key_len = keys.count("attention.key_length_swa")?;
    hyper.value_len = keys.count("attention.value_length_swa")?;
    hyper.rotated = keys
        .optional_count("rope.dimension_count_swa")?
        .unwrap_or(hyper.key_len);
    if hyper.rotated > hyper.key_len.min(MAX_HEAD) || !hyper.rotated.is_multiple_of(2) {
        let expected = format!("an even number of at most the head's {}", hyper.key_len);
        return Err(keys.refused("rope.dimension_count_swa", expected, hyper.rotated));
    }
    let settings = RopeSettings {
        dims: hyper.rotated,
        divisors: None,
        ..unscaled_rope(loader, full)?
    };
    Ok(Kind {
        rope: Arc::new(Rope::new(&settings)),
        window: Some(keys.count("attention.sliding_window")?),
        slot: SLIDING,
        hyper,
    })
}

/// The norm before the second half, and that half: a dense layer, with experts beside it where there is a router.
fn second_half(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    eps: f32,
) -> Result<(Option<Norm>, Mlp)> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    let norm = |name: &str| loader.rms_norm(&base(name), hyper.hidden, eps);
    let dense = hyper.feed_forward(loader, layer, Activation::Gelu)?;
    if !loader.has(&base("ffn_gate_inp.weight")) {
        return Ok((Some(norm("ffn_norm")?), Mlp::Dense(Box::new(dense))));
    }
    let both = BesideExperts {
        dense_norm: norm("ffn_norm")?,
        dense,
        dense_post_norm: norm("post_ffw_norm_1")?,
        router_norm: router_norm(loader, layer, hyper.hidden, eps)?,
        experts_norm: norm("pre_ffw_norm_2")?,
        experts: experts(loader, hyper, layer)?,
        experts_post_norm: norm("post_ffw_norm_2")?,
    };
    Ok((None, Mlp::BesideExperts(Box::new(both))))
}

/// A layer's use of its vector of `width` numbers.
pub(super) fn per_layer(
    loader: &Loader<'_>,
    layer: usize,
    hidden: usize,
    width: usize,
    eps: f32,
) -> Result<PerLayer> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    Ok(PerLayer {
        layer,
        gate: loader.linear(&base("inp_gate"), hidden, width)?,
        up: loader.linear(&base("proj"), width, hidden)?,
        norm: loader.rms_norm(&base("post_norm"), hidden, eps)?,
    })
}

pub(super) fn per_layer_inputs(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    width: usize,
    eps: f32,
) -> Result<PerLayerInputs> {
    let all = hyper.layers.checked_mul(width);
    let all = all.ok_or_else(|| loader.error("embedding_length_per_layer_input is too large"))?;
    Ok(PerLayerInputs {
        embedding: loader.embedding_of("per_layer_token_embd.weight", all)?,
        projection: loader.linear("per_layer_model_proj", hyper.hidden, all)?,
        norm: loader.rms_norm("per_layer_proj_norm", width, eps)?,
    })
}

/// Scores are not scaled, values have norms without weights; keys may be values too.
fn attention(loader: &Loader<'_>, kind: &Kind, layer: usize, eps: f32, borrows: bool) -> Result<Attention> {
    let hyper = &kind.hyper;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let (heads, kv) = hyper.heads(loader, layer)?;
    let total = |heads: usize, len: usize| loader.all_heads(heads, len);
    let (key_len, value_len) = (hyper.key_len, hyper.value_len);
    let lengths = [total(heads, key_len)?, total(kv, key_len)?, total(kv, value_len)?];
    let query = || loader.linear(&base("attn_q"), hyper.hidden, lengths[0]);
    let projections = if loader.has(&base("attn_qkv.weight")) {
        match hyper.projections(loader, layer, lengths)? {
            Projections::Fused(query) if borrows => Projections::Borrowed { query },
            all => all,
        }
    } else if borrows {
        Projections::Borrowed { query: query()? }
    } else if loader.has(&base("attn_v.weight")) {
        hyper.projections(loader, layer, lengths)?
    } else if key_len == value_len {
        Projections::KeysAsValues {
            query: query()?,
            key: loader.linear(&base("attn_k"), hyper.hidden, lengths[1])?,
        }
    } else {
        return Err(loader.error(format!(
            "tensor '{}': expected one, as keys are too long to be values, found none",
            base("attn_v.weight")
        )));
    };
    let norm = |name: &str| loader.rms_norm(&base(name), key_len, eps).map(Some);
    let output = loader.linear(&base("attn_output"), total(heads, value_len)?, hyper.hidden)?;
    let shape = AttentionShape {
        window: kind.window,
        ..AttentionShape::plain(heads, kv, key_len, value_len, 1.0)
    };
    Ok(Attention {
        query_norm: norm("attn_q_norm")?,
        key_norm: if borrows { None } else { norm("attn_k_norm")? },
        value_norm: (!borrows).then(|| weightless(value_len, eps)),
        ..Attention::new(projections, output, Some(kind.rope.clone()), shape)
    })
}

/// Norm before the router, scaled by the root of its width and by weights of its own.
fn router_norm(loader: &Loader<'_>, layer: usize, hidden: usize, eps: f32) -> Result<Norm> {
    let scale = (hidden as f32).sqrt();
    let weight = loader.vector(&format!("blk.{layer}.ffn_gate_inp.scale"), hidden)?;
    Ok(Norm {
        weight: weight.into_iter().map(|w| w / scale).collect(),
        ..weightless(hidden, eps)
    })
}

fn experts(loader: &Loader<'_>, hyper: &Hyperparameters, layer: usize) -> Result<Mixture> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    let count = loader.keys.count("expert_count")?;
    let used = loader.keys.count("expert_used_count")?;
    if used > count {
        return Err(loader
            .keys
            .refused("expert_used_count", format!("1 to {count}"), used));
    }
    let inner = hyper.expert_inner(loader, layer)?;
    let fused = loader.has(&base("ffn_gate_up_exps.weight"));
    let (gate, up) = match fused {
        true => {
            let both = inner.checked_mul(2);
            let both = both.ok_or_else(|| loader.error("experts are too wide"))?;
            (
                None,
                loader.experts(&base("ffn_gate_up_exps"), hyper.hidden, both, count)?,
            )
        }
        false => (
            Some(loader.experts(&base("ffn_gate_exps"), hyper.hidden, inner, count)?),
            loader.experts(&base("ffn_up_exps"), hyper.hidden, inner, count)?,
        ),
    };
    Ok(Mixture {
        router: loader.plain_linear(&base("ffn_gate_inp"), hyper.hidden, count)?,
        gate,
        up,
        fused,
        down: loader.experts(&base("ffn_down_exps"), inner, hyper.hidden, count)?,
        activation: Activation::Gelu,
        used,
        normalize: true,
        weight_scale: 1.0,
        scoring: Scoring::Softmax,
        selection_bias: None,
        groups: None,
        weigh_inputs: false,
        shared: None,
        narrowed: None,
        by_token: None,
        adjugates: None,
        output_scale: 1.0,
    })
}
