//! Hunyuan V4: latent attention with gates and sinks on keys that indexers choose, in copies of the state that
//! hyper-connections read and write, and experts behind the first layers.

use std::sync::Arc;

use super::connections::Connections;
use super::decoder::{Decoder, Layer, Mlp};
use super::deepseek2::{Latent, indexer};
use super::hyperparameters::{Hyperparameters, rope_settings};
use super::mixtures::{mixture, swiglu_limit};
use crate::Result;
use crate::layers::{Back, Chooser, GateFunction, Mixer, OutputGate, Scoring};
use crate::ops::{Activation, Rope, RopeStyle};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let magnitude = keys.float("hyper_connection.magnitude")?;
    let connections = Connections::read(loader, hyper.hidden, eps, Back::Apart(magnitude))?;
    let normalize = keys.optional_flag("expert_weights_norm")?.unwrap_or(false);
    let settings = rope_settings(loader, &hyper, RopeStyle::Norm)?;
    let rope = Arc::new(Rope::new(&settings));
    let own = own_indexers(loader, &hyper)?;
    let sizes = Latent::read(loader, "")?;
    let layer = |i: usize| {
        let base = |name: &str| format!("blk.{i}.{name}");
        let norm = |name: &str| loader.rms_norm(&base(name), hyper.hidden, eps);
        let mut attention = sizes.attention(loader, &hyper, i, Some(rope.clone()), eps)?;
        let gated = loader.all_heads(attention.heads, attention.value_len)?;
        attention.gate = Some(OutputGate {
            linear: loader.linear(&base("attn_gate"), hyper.hidden, gated)?,
            function: GateFunction::Sigmoid,
        });
        let sinks = loader.vector(&base("attn_sinks.weight"), attention.heads)?;
        attention.sinks = Some(Arc::from(sinks));
        attention.chooser = match own.get(i) {
            None => Chooser::None,
            Some(false) => Chooser::OfTheLayerBefore,
            Some(true) => {
                let mut indexer = indexer(loader, &hyper, i, rope.clone())?;
                // The rotated elements are the last here.
                let plain = indexer.len - hyper.rotated;
                indexer.rope = Arc::new(Rope::new(&settings).behind(plain));
                indexer.key_norm.eps = eps;
                Chooser::Own(Box::new(indexer))
            }
        };
        let mlp = match loader.has(&base("ffn_gate_inp.weight")) {
            true => {
                let mut experts = mixture(loader, &hyper, i, Scoring::Sigmoid, normalize)?;
                let limit = swiglu_limit(loader, &hyper, i, "swiglu_clamp_exp")?;
                experts.activation = limit.map_or(Activation::Silu, Activation::SiluCut);
                Mlp::Mixture(Box::new(experts))
            }
            false => Mlp::Dense(Box::new(hyper.feed_forward(loader, i, Activation::Silu)?)),
        };
        let mixer = Mixer::Latent(Box::new(attention));
        Ok::<_, crate::Error>(Layer {
            residual: connections.of_layer(loader, i)?,
            ..Layer::new(norm("attn_norm")?, mixer, norm("ffn_norm")?, mlp)
        })
    };
    let layers = (0..hyper.layers).map(layer).collect::<Result<Vec<_>>>()?;
    let decoder = Decoder::of_layers(loader, hyper.hidden, eps, layers)?;
    Ok(Decoder {
        ends: connections.ends(loader)?,
        ..decoder
    })
}

/// Which layers have an indexer of their own; nothing where queries see all keys.
fn own_indexers(loader: &Loader<'_>, hyper: &Hyperparameters) -> Result<Vec<bool>> {
    const TYPES: &str = "attention.indexer.types";
    let keys = &loader.keys;
    if keys.optional_count("attention.indexer.top_k")?.unwrap_or(0) == 0 {
        return Ok(Vec::new());
    }
    let own = keys.optional_flags(TYPES, hyper.layers)?.unwrap_or_default();
    match own.first() {
        Some(true) => Ok(own),
        _ => Err(keys.refused(TYPES, "an indexer in the first layer", "none")),
    }
}
