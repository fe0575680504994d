//! EAGLE-3 (Li et al., 2025): one layer whose attention reads the embedding of the next token beside what a matrix makes of
//! the states of three layers of the target.

use super::States;
use super::vocabulary::Vocabulary;
use crate::Result;
use crate::layers::{Attention, FeedForward, Linear, Projections};
use crate::model::Hyperparameters;
use crate::model::rope;
use crate::ops::{Activation, AttentionShape, Matrix, Norm, RopeStyle};
use crate::run::{Run, normalized};
use crate::weights::Loader;

/// Layers of its target that a draft of EAGLE-3 reads.
pub(crate) const EAGLE3_LAYERS: usize = 3;

#[derive(Debug)]
pub(crate) struct Eagle3 {
    /// Width of the target's states.
    width: usize,
    /// Norm of the states beside each other.
    fused_norm: Option<Norm>,
    fuse: Linear,
    embedding_norm: Norm,
    state_norm: Norm,
    attention: Attention,
    /// Whether what attention makes is added to the normalized states instead of to these as they are.
    adds_to_normalized: bool,
    mlp_norm: Norm,
    mlp: FeedForward,
    output_norm: Norm,
    pub(super) vocabulary: Vocabulary,
}

impl Eagle3 {
    pub(crate) fn build(loader: &Loader<'_>) -> Result<Self> {
        let keys = &loader.keys;
        let hyper = Hyperparameters::read(loader)?;
        if hyper.layers != 1 {
            return Err(keys.refused("block_count", "the one layer of EAGLE-3", hyper.layers));
        }
        let eps = keys.float("attention.layer_norm_rms_epsilon")?;
        let width = keys.count("target_hidden_size")?;
        let (hidden, states) = (hyper.hidden, width.saturating_mul(EAGLE3_LAYERS));
        let norm = |base: &str| loader.rms_norm(base, hidden, eps);
        let fused_norm = match keys.optional_flag("norm_before_fc")? == Some(true) {
            true => Some(loader.rms_norm("enc.output_norm", states, eps)?),
            false => None,
        };
        Ok(Self {
            width,
            fused_norm,
            fuse: loader.linear("fc", states, hidden)?,
            embedding_norm: norm("blk.0.attn_norm")?,
            state_norm: norm("blk.0.attn_norm_2")?,
            attention: attention(loader, &hyper)?,
            adds_to_normalized: keys.optional_flag("norm_before_residual")?.unwrap_or(false),
            mlp_norm: norm("blk.0.ffn_norm")?,
            mlp: hyper.feed_forward(loader, 0, Activation::Silu)?,
            output_norm: norm("output_norm")?,
            vocabulary: Vocabulary::build(loader, hidden)?,
        })
    }

    /// Width of the states that it reads.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Final states of every token but each window's first, beside the state of the token before it.
    pub(super) fn forward(&self, run: &mut Run<'_>, states: &States<'_>) -> Result<Matrix> {
        let mut read = states.beside();
        if let Some(norm) = &self.fused_norm {
            norm.apply(&mut read);
        }
        let mut x = self.fuse.forward(run, &read)?;
        let mut embedded = self.vocabulary.embed(run, states)?;
        self.embedding_norm.apply(&mut embedded);
        let normed = normalized(run, Some(&self.state_norm), &x);
        let input = beside(&embedded, &normed);
        let attended = self.attention.forward(run, &input)?;
        if self.adds_to_normalized {
            x.copy_from(&normed);
        }
        x.add(&attended);
        let input = normalized(run, Some(&self.mlp_norm), &x);
        x.add(&self.mlp.forward(run, &input)?);
        self.output_norm.apply(&mut x);
        Ok(x)
    }
}

/// The attention, whose queries, keys and values are made of rows of twice the width.
fn attention(loader: &Loader<'_>, hyper: &Hyperparameters) -> Result<Attention> {
    let (heads, kv_heads) = hyper.heads(loader, 0)?;
    let (key, value) = (hyper.key_len, hyper.value_len);
    if key != value {
        let expected = format!("the {key} of attention.key_length");
        return Err(loader.keys.refused("attention.value_length", expected, value));
    }
    let both = hyper.hidden.saturating_mul(2);
    let linear = |name: &str, heads: usize| {
        loader.linear(&format!("blk.0.attn_{name}"), both, loader.all_heads(heads, key)?)
    };
    let projections = Projections::Separate {
        query: linear("q", heads)?,
        key: linear("k", kv_heads)?,
        value: linear("v", kv_heads)?,
    };
    let output = loader.linear("blk.0.attn_output", loader.all_heads(heads, key)?, hyper.hidden)?;
    let shape = AttentionShape::plain(heads, kv_heads, key, value, hyper.usual_scale());
    let rope = rope(loader, hyper, RopeStyle::Norm)?;
    Ok(Attention::new(projections, output, Some(rope), shape))
}

/// Rows of both, each after the other's.
fn beside(left: &Matrix, right: &Matrix) -> Matrix {
    let rows = left.data.chunks_exact(left.cols.max(1));
    let pairs = rows.zip(right.data.chunks_exact(right.cols.max(1)));
    Matrix {
        rows: left.rows,
        cols: left.cols + right.cols,
        data: pairs.flat_map(|(a, b)| a.iter().chain(b)).copied().collect(),
    }
}
