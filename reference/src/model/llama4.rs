//! Llama 4: three layers of four are rotated and see pieces of the context, the fourth is not and sees all of
//! it; experts whose weights multiply their inputs.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use super::mixtures::{mixture, weightless};
use crate::Result;
use crate::layers::{Mixture, QueryGrowth, Scoring};
use crate::ops::{Activation, RopeStyle};
use crate::weights::Loader;

/// Length of the pieces.
const CHUNK: usize = 8192;
const GROWTH: QueryGrowth = QueryGrowth {
    step: CHUNK,
    first: 1,
    factor: 0.1,
};
/// One layer of this many sees everything.
const PERIOD: usize = 4;
/// The model with this many experts has no norms of heads.
const EXPERTS_WITHOUT_NORMS: usize = 128;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let rope = rope(loader, &hyper, RopeStyle::Norm)?;
    let experts = keys.optional_count("expert_count")?.unwrap_or(0);
    let always_rotates = keys.optional_count("attention.sliding_window")? == Some(0);
    let scale = keys
        .optional_positive("attention.scale")?
        .unwrap_or(hyper.usual_scale());
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let norm = |name: &str| loader.rms_norm(&format!("blk.{i}.{name}"), hyper.hidden, eps);
        let rotates = always_rotates || (i + 1) % PERIOD != 0;
        let mut attention = hyper.attention(loader, i, rotates.then(|| rope.clone()), scale)?;
        if rotates && experts != EXPERTS_WITHOUT_NORMS {
            attention.query_norm = Some(weightless(hyper.key_len, eps));
            attention.key_norm = Some(weightless(hyper.key_len, eps));
            attention.norms_follow_rope = true;
        }
        if !always_rotates {
            match rotates {
                true => attention.shape.chunk = Some(CHUNK),
                false => attention.query_scale = Some(GROWTH),
            }
        }
        let mlp = match loader.has(&format!("blk.{i}.ffn_gate_inp.weight")) {
            true => Mlp::Mixture(Box::new(Mixture {
                weigh_inputs: true,
                ..mixture(loader, &hyper, i, Scoring::Sigmoid, false)?
            })),
            false => Mlp::Dense(Box::new(hyper.feed_forward(loader, i, Activation::Silu)?)),
        };
        layers.push(Layer::new(norm("attn_norm")?, attention, norm("ffn_norm")?, mlp));
    }
    Decoder::of_layers(loader, hyper.hidden, eps, layers)
}
