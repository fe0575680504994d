//! dots 3 note: latent attention with gates, in some layers on keys that indexers choose, in the others on the latest,
//! with heads of sizes of their own.

use std::sync::Arc;

use gguf::Array;

use super::decoder::{Decoder, Layer, Mlp};
use super::deepseek2::{Latent, indexer};
use super::hyperparameters::{Hyperparameters, rope_settings, ropes_of_windows, sliding_layers};
use super::mixtures::mixture;
use crate::Result;
use crate::layers::{Chooser, GateFunction, Mixer, OutputGate, Scoring};
use crate::ops::{Activation, Rope, RopeStyle};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let window = keys.count("attention.sliding_window")?;
    let sliding = match keys.is_array(PATTERN) {
        true => sliding_layers(loader, &hyper, 0)?,
        false => return Err(keys.missing(PATTERN)),
    };
    keys.float("rope.freq_base_swa")?;
    let (rope, local_rope) = ropes_of_windows(loader, &hyper, RopeStyle::Norm)?;
    let indexer_rope = Arc::new(Rope::new(&rope_settings(loader, &hyper, RopeStyle::Neox)?));
    let normalize = keys.optional_flag("expert_weights_norm")?.unwrap_or(false);
    let indexed = match keys.array("attention.indexer.types")? {
        Array::Bool(indexed) => &indexed[..],
        _ => &[],
    };
    let (full, local) = (Latent::read(loader, "")?, Latent::read(loader, "_swa")?);
    let layer = |i: usize, slides: bool| {
        let base = |name: &str| format!("blk.{i}.{name}");
        let norm = |name: &str| loader.rms_norm(&base(name), hyper.hidden, eps);
        let (sizes, rope) = match slides {
            true => (&local, &local_rope),
            false => (&full, &rope),
        };
        let mut attention = sizes.attention(loader, &hyper, i, Some(rope.clone()), eps)?;
        attention.rotated_norm = Some(loader.rms_norm(&base("attn_k_norm"), hyper.rotated, eps)?);
        attention.gate = Some(OutputGate {
            linear: loader.linear(&base("attn_gate"), hyper.hidden, attention.heads)?,
            function: GateFunction::Sigmoid,
        });
        if slides {
            attention.window = Some(window);
        }
        // One where it is not asked has to be in the file all the same.
        if !slides || indexed.get(i) == Some(&true) {
            let indexer = indexer(loader, &hyper, i, indexer_rope.clone())?;
            if !slides {
                attention.chooser = Chooser::Own(Box::new(indexer));
            }
        }
        let mlp = match loader.has(&base("ffn_gate_inp.weight")) {
            true => Mlp::Mixture(Box::new(mixture(loader, &hyper, i, Scoring::Sigmoid, normalize)?)),
            false => Mlp::Dense(Box::new(hyper.feed_forward(loader, i, Activation::Silu)?)),
        };
        let mixer = Mixer::Latent(Box::new(attention));
        Ok::<_, crate::Error>(Layer::new(norm("attn_norm")?, mixer, norm("ffn_norm")?, mlp))
    };
    let numbered = sliding.iter().enumerate();
    let layers = numbered
        .map(|(i, &slides)| layer(i, slides))
        .collect::<Result<Vec<_>>>()?;
    // The layers that predict further tokens are built as those with a window.
    for i in hyper.predicting_if_any(loader) {
        layer(i, true)?;
        loader.prediction(i, hyper.hidden)?;
    }
    Decoder::of_layers(loader, hyper.hidden, eps, layers)
}

/// Says which layers see a window.
const PATTERN: &str = "attention.sliding_window_pattern";
