//! BERT: an encoder. Every token sees all others, and norms stand after what the halves of a layer add up to.
//! NomicBERT rotates instead of adding positions, and has gates.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use crate::Result;
use crate::ops::{Activation, NormKind, RopeStyle};
use crate::weights::{ANY, Loader};

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    encoder(loader, false)
}

pub(super) fn nomic(loader: &Loader<'_>) -> Result<Decoder> {
    encoder(loader, true)
}

fn encoder(loader: &Loader<'_>, nomic: bool) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let hidden = hyper.hidden;
    let eps = loader.keys.float("attention.layer_norm_epsilon")?;
    let norm = |base: &str| loader.norm(NormKind::Layer, base, hidden, eps);
    let rope = match nomic {
        true => Some(rope(loader, &hyper, RopeStyle::Neox)?),
        false => None,
    };
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let base = |name: &str| format!("blk.{i}.{name}");
        let mut attention = hyper.attention(loader, i, rope.clone(), hyper.usual_scale())?;
        attention.shape.causal = false;
        let dense = match nomic {
            true => hyper.feed_forward(loader, i, Activation::Silu)?,
            false => hyper.feed_forward_of_two(loader, i, Activation::GeluErf, false)?,
        };
        layers.push(Layer {
            attention_norm: None,
            attention: attention.into(),
            attention_post_norm: Some(norm(&base("attn_output_norm"))?),
            mlp_norm: None,
            mlp: Mlp::Dense(Box::new(dense)),
            mlp_post_norm: Some(norm(&base("layer_output_norm"))?),
            parallel: false,
            residual_scale: 1.0,
            norms_follow_sums: true,
            per_layer: None,
            output_scale: 1.0,
            early: None,
        });
    }
    let embedding = loader.embedding(hidden)?;
    let positions = match nomic {
        true => None,
        false => {
            let found = loader.positions(hidden)?;
            Some(found.ok_or_else(|| loader.error("tensor position_embd.weight is missing"))?)
        }
    };
    // All tokens are of the first type: one text, not a pair of them.
    let count = loader.keys.global_count("tokenizer.ggml.token_type_count");
    loader.allowed("token_types.weight", &[hidden, count.unwrap_or(ANY)])?;
    let types = match loader.has("token_types.weight") {
        true => {
            let rows = loader.outputs_of("token_types")?;
            let mut table = loader.table("token_types.weight", hidden, rows)?;
            table.truncate(hidden);
            table
        }
        false => Vec::new(),
    };
    loader.classifier(hidden)?;
    let head = loader.head(hidden, embedding.matrix.outputs)?;
    let embedding_norm = norm("token_embd_norm")?;
    Ok(Decoder {
        positions,
        embedding_shift: types,
        output_norm: None,
        embedding_norm: Some(embedding_norm.clone()),
        ..Decoder::new(embedding, layers, embedding_norm, head)
    })
}
