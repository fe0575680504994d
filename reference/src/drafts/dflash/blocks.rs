//! The layers of most drafts: attention over the block and the states before it, and a dense second half.

use std::sync::Arc;

use super::Pairs;
use super::convolution::Convolution;
use crate::Error;
use crate::layers::{FeedForward, Linear};
use crate::model::{Hyperparameters, rope_settings, weightless};
use crate::ops::{Activation, AttentionShape, Matrix, Norm, Rope, RopeStyle, attend_chosen};
use crate::run::{Run, normalized};
use crate::weights::Loader;

/// One layer.
#[derive(Debug)]
pub(super) struct Block {
    norm: Norm,
    query: Linear,
    key: Linear,
    /// `None`: the keys as they are before their norm.
    value: Option<Linear>,
    query_norm: Norm,
    key_norm: Norm,
    /// Of keys that are values.
    value_norm: Norm,
    rope: Arc<Rope>,
    shape: AttentionShape,
    output: Linear,
    /// Factor on what attention makes.
    attention_scale: f32,
    post_norm: Option<Norm>,
    mlp_norm: Norm,
    mlp: FeedForward,
    mlp_post_norm: Option<Norm>,
    /// Factor on all that leaves the layer.
    scale: f32,
    /// Around attention and around the second half, in DFlash 2.
    convolutions: Option<[Convolution; 2]>,
}

impl Block {
    /// Keys and values of the rows, as they stand at the run's positions.
    pub(super) fn keys(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Matrix), Error> {
        let mut keys = self.key.forward(run, x)?;
        let mut values = match &self.value {
            Some(value) => value.forward(run, x)?,
            None => {
                let mut values = keys.clone();
                self.value_norm.apply(&mut values);
                values
            }
        };
        self.key_norm.apply(&mut keys);
        self.rope
            .apply(&mut keys, self.shape.key_len, &run.positions, &run.windows);
        run.rounding.cached(&mut keys);
        run.rounding.cached(&mut values);
        Ok((keys, values))
    }

    /// Adds both halves to `x`, rows of blocks that see the keys and values `lent` too.
    pub(super) fn forward(
        &self,
        run: &mut Run<'_>,
        x: &mut Matrix,
        [mut keys, mut values]: [Matrix; 2],
        pairs: &Pairs<'_>,
    ) -> Result<(), Error> {
        let mut normed = normalized(run, Some(&self.norm), x);
        let around = match &self.convolutions {
            Some([convolution, _]) => Some(convolution.before(run, &mut normed, pairs.block)?),
            None => None,
        };
        let mut queries = self.query.forward(run, &normed)?;
        self.query_norm.apply(&mut queries);
        self.rope
            .apply(&mut queries, self.shape.key_len, &run.positions, &run.windows);
        let (own_keys, own_values) = self.keys(run, &normed)?;
        for (all, own) in [(&mut keys, own_keys), (&mut values, own_values)] {
            all.rows += own.rows;
            all.data.extend(own.data);
        }
        let chosen = pairs.chosen(self.shape.window, self.shape.causal);
        let mut mixed = run.scratch.take(x.rows, self.shape.heads * self.shape.value_len);
        attend_chosen(&queries, &keys, &values, &mut mixed, &chosen, &self.shape);
        let mut attended = self.output.forward(run, &mixed)?;
        attended.scale(self.attention_scale);
        if let Some(around) = around {
            around.behind(&mut attended);
        }
        if let Some(norm) = &self.post_norm {
            norm.apply(&mut attended);
        }
        x.add(&attended);
        let mut input = normalized(run, Some(&self.mlp_norm), x);
        let around = match &self.convolutions {
            Some([_, convolution]) => Some(convolution.before(run, &mut input, pairs.block)?),
            None => None,
        };
        let mut out = self.mlp.forward(run, &input)?;
        if let Some(around) = around {
            around.behind(&mut out);
        }
        if let Some(norm) = &self.mlp_post_norm {
            norm.apply(&mut out);
        }
        x.add(&out);
        x.scale(self.scale);
        for matrix in [normed, queries, mixed, attended, input, out] {
            run.scratch.give(matrix);
        }
        Ok(())
    }
}

/// All layers.
pub(super) fn read(loader: &Loader<'_>, hyper: &Hyperparameters, eps: f32) -> Result<Vec<Block>, Error> {
    let keys = &loader.keys;
    let (key, value) = (hyper.key_len, hyper.value_len);
    if key != value {
        let expected = format!("the {key} of attention.key_length");
        return Err(keys.refused("attention.value_length", expected, value));
    }
    let window = keys
        .optional_count("attention.sliding_window")?
        .filter(|&n| n > 0);
    let slides = match window {
        Some(_) => keys.optional_flags("attention.sliding_window_pattern", hyper.blocks)?,
        None => None,
    };
    let mut settings = rope_settings(loader, hyper, RopeStyle::Neox)?;
    if let Ok(Some(sections)) = keys.optional_per_layer("rope.dimension_sections", 4)
        && (0..4).any(|i| sections.get(i) > 0)
    {
        // As stock has it: the rotation by sections takes no divisors.
        settings.divisors = None;
    }
    let shared = Shared {
        eps,
        rope: Arc::new(Rope::new(&settings)),
        scale: keys.optional_float("attention.scale")?.filter(|&s| s != 0.0),
        attention_scale: keys
            .optional_float("attention.value_scale")?
            .filter(|&s| s != 0.0),
        causal: keys.optional_flag("attention.causal")?.unwrap_or(false),
        activation: match keys.optional_str("hidden_activation")? {
            None | Some("silu") => Activation::Silu,
            Some("gelu" | "gelu_pytorch_tanh") => Activation::Gelu,
            Some(other) => return Err(keys.refused("hidden_activation", "silu or gelu", other)),
        },
    };
    (0..hyper.layers)
        .map(|i| {
            let slides = slides.as_ref().is_some_and(|slides| slides[i]);
            shared.layer(loader, hyper, i, window.filter(|_| slides))
        })
        .collect()
}

/// The parts that all layers have alike.
struct Shared {
    eps: f32,
    rope: Arc<Rope>,
    scale: Option<f32>,
    attention_scale: Option<f32>,
    causal: bool,
    activation: Activation,
}

impl Shared {
    fn layer(
        &self,
        loader: &Loader<'_>,
        hyper: &Hyperparameters,
        layer: usize,
        window: Option<usize>,
    ) -> Result<Block, Error> {
        let base = |name: &str| format!("blk.{layer}.{name}");
        let (hidden, head) = (hyper.hidden, hyper.key_len);
        let (heads, kv_heads) = hyper.heads(loader, layer)?;
        let linear =
            |name: &str, heads: usize| loader.linear(&base(name), hidden, loader.all_heads(heads, head)?);
        let norm = |name: &str, len: usize| loader.rms_norm(&base(name), len, self.eps);
        let optional = |name: &str| match loader.has(&base(&format!("{name}.weight"))) {
            true => norm(name, hidden).map(Some),
            false => Ok(None),
        };
        let value = match loader.has(&base("attn_v.weight")) {
            true => Some(linear("attn_v", kv_heads)?),
            false => None,
        };
        let scale = loader.optional_vector(&base("layer_output_scale.weight"), 1)?;
        let sinks = loader.optional_vector(&base("attn_sinks.weight"), heads)?;
        let usual = hyper.usual_scale();
        Ok(Block {
            norm: norm("attn_norm", hidden)?,
            query: linear("attn_q", heads)?,
            key: linear("attn_k", kv_heads)?,
            value,
            query_norm: norm("attn_q_norm", head)?,
            key_norm: norm("attn_k_norm", head)?,
            value_norm: weightless(head, self.eps),
            rope: self.rope.clone(),
            shape: AttentionShape {
                window,
                causal: self.causal,
                sinks: sinks.map(Arc::from),
                ..AttentionShape::plain(heads, kv_heads, head, head, self.scale.unwrap_or(usual))
            },
            output: loader.linear(&base("attn_output"), loader.all_heads(heads, head)?, hidden)?,
            attention_scale: self.attention_scale.unwrap_or(1.0),
            post_norm: optional("post_attention_norm")?,
            mlp_norm: norm("ffn_norm", hidden)?,
            mlp: hyper.feed_forward(loader, layer, self.activation)?,
            mlp_post_norm: optional("post_ffw_norm")?,
            scale: scale.map_or(1.0, |s| s[0]),
            convolutions: match loader.has(&base("attn_conv_proj.weight")) {
                true => Some([
                    Convolution::read(loader, &base("attn_conv"), hidden)?,
                    Convolution::read(loader, &base("ffn_conv"), hidden)?,
                ]),
                false => None,
            },
        })
    }
}
