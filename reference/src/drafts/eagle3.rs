//! EAGLE-3 (Li et al., 2025): one layer whose attention reads the embedding of the next token beside what a matrix makes of
//! the states of three layers of the target.

use std::ops::Range;

use super::vocabulary::{Head, Vocabulary};
use super::{Own, States, beside, target_layers};
use crate::layers::{Attention, FeedForward, Linear, Projections};
use crate::model::{Hyperparameters, Logits, rope};
use crate::ops::{Activation, AttentionShape, Matrix, Norm, RopeStyle};
use crate::run::{Run, normalized};
use crate::weights::Loader;
use crate::{Error, Model};

/// Layers of its target that a draft of EAGLE-3 reads.
pub(crate) const EAGLE3_LAYERS: usize = 3;

#[derive(Debug)]
pub(crate) struct Eagle3 {
    /// Layers of the target whose inputs it reads.
    layers: Vec<usize>,
    /// Width of these.
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
    vocabulary: Vocabulary,
}

impl Eagle3 {
    pub(crate) fn build(loader: &Loader<'_>) -> Result<Self, Error> {
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
            layers: target_layers(loader, Some(EAGLE3_LAYERS))?,
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
            vocabulary: Vocabulary::build(loader, hidden, Head::OwnOrTargets)?,
        })
    }

    /// Layers of the target whose inputs it reads: the number of one may be one more than the last layer's, then it is
    /// what that one puts out. An error is what is expected of another target.
    pub(super) fn layers(&self, target: &Model) -> Result<Vec<usize>, String> {
        super::expect_layers(target, &self.layers, self.width)?;
        self.vocabulary.check(target)?;
        Ok(self.layers.clone())
    }

    /// Logits of these rows of every token but each window's first, beside the state of the token before it.
    pub(super) fn logits(
        &self,
        own: Own<'_>,
        states: &States<'_>,
        rows: &Range<usize>,
    ) -> Result<Logits, Error> {
        let mut run = own.run(&states.following());
        let mut x = self.states(&mut run, states)?;
        x.keep_rows(&states.of_following(rows));
        self.vocabulary.logits(&mut run, states.target, &x, None)
    }

    /// Final states of every token but each window's first, beside the state of the token before it.
    fn states(&self, run: &mut Run<'_>, states: &States<'_>) -> Result<Matrix, Error> {
        let inputs: Vec<&Matrix> = states.inputs.iter().collect();
        let mut read = states.beside(&inputs);
        if let Some(norm) = &self.fused_norm {
            norm.apply(&mut read);
        }
        let mut x = self.fuse.forward(run, &read)?;
        let mut embedded = self.vocabulary.embed(run, states.target, &states.following())?;
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
fn attention(loader: &Loader<'_>, hyper: &Hyperparameters) -> Result<Attention, Error> {
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
