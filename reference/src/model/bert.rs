//! BERT: an encoder. Every token sees all others, and norms stand after what the halves of a layer add up to.
//! NomicBERT rotates instead of adding positions, and has gates; in Jina's models scores fall with the distance.

use super::classifier::Classifier;
use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use crate::Result;
use crate::layers::FeedForward;
use crate::ops::{Activation, NormKind, RopeStyle};
use crate::weights::{ANY, Loader};

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    encoder(loader, Kind::Bert)
}

pub(super) fn nomic(loader: &Loader<'_>) -> Result<Decoder> {
    encoder(loader, Kind::Nomic)
}

pub(super) fn jina(loader: &Loader<'_>) -> Result<Decoder> {
    encoder(loader, Kind::Jina)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bert,
    Nomic,
    Jina,
}

/// ALiBi's bias of Jina's models, which no key gives.
const ALIBI: f32 = 8.0;

fn encoder(loader: &Loader<'_>, kind: Kind) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let hidden = hyper.hidden;
    let eps = loader.keys.float("attention.layer_norm_epsilon")?;
    let norm = |base: &str| loader.norm(NormKind::Layer, base, hidden, eps);
    let rope = match kind {
        Kind::Nomic => Some(rope(loader, &hyper, RopeStyle::Neox)?),
        _ => None,
    };
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let base = |name: &str| format!("blk.{i}.{name}");
        let mut attention = hyper.attention(loader, i, rope.clone(), hyper.usual_scale())?;
        attention.shape.causal = false;
        let dense = match kind {
            Kind::Nomic => hyper.feed_forward(loader, i, Activation::Silu)?,
            Kind::Bert => hyper.feed_forward_of_two(loader, i, Activation::GeluErf, false)?,
            Kind::Jina => jina_feed_forward(loader, &hyper, i)?,
        };
        let mut again = None;
        if kind == Kind::Jina {
            attention.shape.max_alibi_bias = Some(ALIBI);
            let optional = |name: &str| match loader.has(&format!("{}.weight", base(name))) {
                true => norm(&base(name)).map(Some),
                false => Ok(None),
            };
            attention.query_norm = optional("attn_q_norm")?;
            attention.key_norm = optional("attn_k_norm")?;
            again = optional("attn_norm_2")?;
        }
        layers.push(Layer {
            attention_post_norm: Some(norm(&base("attn_output_norm"))?),
            mlp_post_norm: Some(norm(&base("layer_output_norm"))?),
            norms_follow_sums: true,
            attention_again: again,
            ..Layer::without_norms(attention, Mlp::Dense(Box::new(dense)))
        });
    }
    let embedding = loader.embedding(hidden)?;
    let positions = match kind {
        Kind::Nomic | Kind::Jina => None,
        Kind::Bert => {
            let found = loader.positions(hidden)?;
            Some(
                found
                    .ok_or_else(|| loader.error("tensor 'position_embd.weight': expected one, found none"))?,
            )
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
    let head = loader.head(hidden, embedding.matrix.outputs)?;
    let embedding_norm = norm("token_embd_norm")?;
    Ok(Decoder {
        classifier: Classifier::read(loader, hidden)?,
        positions,
        embedding_shift: types,
        output_norm: None,
        embedding_norm: Some(embedding_norm.clone()),
        ..Decoder::new(embedding, layers, embedding_norm, head)
    })
}

/// With gates in a matrix of their own, in that of what they gate, or without.
fn jina_feed_forward(loader: &Loader<'_>, hyper: &Hyperparameters, layer: usize) -> Result<FeedForward> {
    let has = |name: &str| loader.has(&format!("blk.{layer}.{name}.weight"));
    if has("ffn_gate") {
        return hyper.feed_forward(loader, layer, Activation::Gelu);
    }
    let inner = hyper.inner(loader, layer)?;
    let outputs = loader.outputs_of(&format!("blk.{layer}.ffn_up"))?;
    let fused = outputs != inner && outputs != ANY;
    hyper.feed_forward_of_two(loader, layer, Activation::Gelu, fused)
}
