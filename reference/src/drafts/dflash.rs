//! DFlash (Chen et al., 2026) and DSpark: a block of tokens at a time, of which the first is known and the others are a mask.
//! Its layers see each other's places in the block and keys and values that are made of the target's states. DSpark adds what
//! it expects after the known token alone.
//!
//! What is computed here is the first place of the draft, in a whole block: the other places see it.

use std::ops::Range;
use std::sync::Arc;

use super::vocabulary::{Head, Vocabulary};
use super::{Own, States, cut, target_layers};
use crate::layers::{Embedding, FeedForward, Linear};
use crate::model::{Hyperparameters, Logits, rope_settings, weightless};
use crate::ops::{Activation, AttentionShape, Matrix, Norm, Rope, RopeStyle, attend_chosen};
use crate::run::{Run, normalized};
use crate::weights::Loader;
use crate::{Error, Model};

/// Tokens of a block where the file does not say.
const BLOCK: usize = 16;
/// Rows of blocks that are run together.
const ROWS: usize = 1024;

#[derive(Debug)]
pub(crate) struct DFlash {
    /// Layers of the target whose inputs it reads.
    read: Vec<usize>,
    fuse: Linear,
    fused_norm: Norm,
    /// Tokens of a block.
    block: usize,
    mask: u32,
    /// The place in a block of the first prediction.
    first: usize,
    embedding_scale: f32,
    layers: Vec<Block>,
    output_norm: Norm,
    vocabulary: Vocabulary,
    markov: Option<Markov>,
}

/// Expectations after a token alone.
#[derive(Debug)]
struct Markov {
    token: Embedding,
    head: Linear,
}

/// One layer.
#[derive(Debug)]
struct Block {
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
}

impl DFlash {
    pub(super) fn build(loader: &Loader<'_>) -> Result<Self, Error> {
        let keys = &loader.keys;
        if keys.optional_count("hyper_connection.count")?.unwrap_or(0) > 0 {
            return Err(keys.refused(
                "hyper_connection.count",
                "none: layers of DeepSeek-V4 are not run",
                "some",
            ));
        }
        if loader.has("selector_hidden.weight") {
            return Err(loader.error(
                "tensor 'selector_hidden.weight': expected none, as DFlash 2, which selects among candidates, is not run, \
                 found one",
            ));
        }
        let hyper = Hyperparameters::read(loader)?;
        let hidden = hyper.hidden;
        let eps = keys.float("attention.layer_norm_rms_epsilon")?;
        let read = target_layers(loader, None)?;
        let block = keys.optional_count("block_size")?.unwrap_or(BLOCK);
        if !(2..=ROWS).contains(&block) {
            return Err(keys.refused("block_size", format!("2 to {ROWS}"), block));
        }
        let markov = markov(loader, hidden)?;
        let anchored = keys.optional_flag("sample_from_anchor")?.unwrap_or(true);
        let mask = keys
            .global_count("tokenizer.ggml.mask_token_id")
            .and_then(|id| u32::try_from(id).ok());
        let mask = mask.ok_or_else(|| {
            loader.error("key 'tokenizer.ggml.mask_token_id': expected the token that a block is filled with, found none")
        })?;
        Ok(Self {
            fuse: loader.linear("fc", read.len().saturating_mul(hidden), hidden)?,
            fused_norm: loader.rms_norm("enc.output_norm", hidden, eps)?,
            read,
            block,
            mask,
            first: usize::from(markov.is_none() || !anchored),
            embedding_scale: keys
                .optional_float("embedding_scale")?
                .filter(|&s| s != 0.0)
                .unwrap_or(1.0),
            layers: blocks(loader, &hyper, eps)?,
            output_norm: loader.rms_norm("output_norm", hidden, eps)?,
            vocabulary: Vocabulary::build(loader, hidden, Head::OwnOrTied)?,
            markov,
        })
    }

    /// Layers of the target whose inputs it reads. An error is what is expected of another target.
    pub(super) fn layers(&self, target: &Model) -> Result<Vec<usize>, String> {
        super::expect_layers(target, &self.read, self.output_norm.group)?;
        self.vocabulary.check(target)?;
        if let Some(Markov { token, head }) = &self.markov {
            let (tokens, predicted) = (target.vocabulary(), self.vocabulary.logits_of(target));
            let (most, all) = (token.matrix.outputs, head.matrix.outputs);
            if tokens > most || predicted != all {
                return Err(format!(
                    "at most {most} tokens and predictions of {all}, found {tokens} and {predicted}"
                ));
            }
        }
        match (self.mask as usize) < target.vocabulary() {
            true => Ok(self.read.clone()),
            false => Err(format!(
                "the mask {} among its tokens, found {}",
                self.mask,
                target.vocabulary()
            )),
        }
    }

    /// Logits of what comes after these rows of every token but each window's first, of the states of the tokens before it.
    pub(super) fn logits(
        &self,
        own: Own<'_>,
        states: &States<'_>,
        rows: &Range<usize>,
    ) -> Result<Logits, Error> {
        let mut run = own.run(&states.following());
        let inputs: Vec<&Matrix> = states.inputs.iter().collect();
        let mut fused = self.fuse.forward(&mut run, &states.beside(&inputs))?;
        self.fused_norm.apply(&mut fused);
        let lent = self.layers.iter().map(|layer| layer.keys(&mut run, &fused));
        let lent = lent.collect::<Result<Vec<_>, _>>()?;
        let mut all = Logits {
            rows: 0,
            vocabulary: states.target.vocabulary(),
            data: Vec::new(),
        };
        for window in run.windows.clone() {
            let wanted = cut(&window, rows);
            for first in wanted.clone().step_by((ROWS / self.block).max(1)) {
                let pairs = Pairs {
                    tokens: &run.tokens,
                    window: window.clone(),
                    rows: first..wanted.end.min(first + (ROWS / self.block).max(1)),
                };
                let made = self.of_blocks(own, states.target, &pairs, &lent)?;
                all.rows += made.rows;
                all.data.extend(made.data);
            }
        }
        Ok(all)
    }

    /// Logits of the first place of a draft after each token of `pairs`.
    fn of_blocks(
        &self,
        own: Own<'_>,
        target: &Model,
        pairs: &Pairs<'_>,
        lent: &[(Matrix, Matrix)],
    ) -> Result<Logits, Error> {
        let known = &pairs.tokens[pairs.rows.clone()];
        let blocks: Vec<Vec<u32>> = known
            .iter()
            .map(|&token| {
                let mut block = vec![self.mask; self.block];
                block[0] = token;
                block
            })
            .collect();
        let sequences: Vec<_> = blocks
            .iter()
            .map(|block| (block.as_slice(), 0..usize::MAX))
            .collect();
        let mut run = own.run(&sequences);
        for (position, place) in run.positions.iter_mut().zip(0..) {
            // The state of position p goes with the token after it.
            *position += pairs.position(place / self.block) + 1;
        }
        let mut x = self.vocabulary.embed(&mut run, target, &sequences)?;
        x.scale(self.embedding_scale);
        for (layer, (keys, values)) in self.layers.iter().zip(lent) {
            let lent = [keys, values].map(|m| pairs.lent(m));
            let chosen = layer.chosen(pairs, self.block);
            layer.forward(&mut run, &mut x, lent, &chosen)?;
        }
        let predicting: Vec<usize> = (0..known.len()).map(|at| at * self.block + self.first).collect();
        x.keep_rows(&predicting);
        self.output_norm.apply(&mut x);
        let more = match &self.markov {
            None => None,
            Some(markov) => {
                let mut run = own.run(&[(known, 0..usize::MAX)]);
                let token = markov.token.forward(&mut run)?;
                Some(markov.head.forward(&mut run, &token)?)
            }
        };
        self.vocabulary.logits(&mut run, target, &x, more.as_ref())
    }
}

/// Some rows of a window of tokens that follow another.
struct Pairs<'a> {
    /// All windows' tokens.
    tokens: &'a [u32],
    window: Range<usize>,
    rows: Range<usize>,
}

impl Pairs<'_> {
    /// The position of the state before a row.
    fn position(&self, row: usize) -> usize {
        self.rows.start + row - self.window.start
    }

    /// Rows of all states that one of these sees.
    fn lent(&self, all: &Matrix) -> Matrix {
        let rows = self.window.start..self.rows.end;
        Matrix {
            rows: rows.len(),
            cols: all.cols,
            data: all.data[rows.start * all.cols..rows.end * all.cols].to_vec(),
        }
    }
}

impl Block {
    /// Keys and values of the rows, as they stand at the run's positions.
    fn keys(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Matrix), Error> {
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

    /// For each row of the blocks the keys that it sees: those of the states, after which come those of all blocks.
    fn chosen(&self, pairs: &Pairs<'_>, block: usize) -> Vec<Vec<usize>> {
        let own = pairs.rows.end - pairs.window.start;
        let near = |query: usize, key: usize| self.shape.window.is_none_or(|window| query < key + window);
        let mut chosen = Vec::new();
        for row in 0..pairs.rows.len() {
            let position = pairs.position(row);
            for place in 0..block {
                let query = position + 1 + place;
                let states = (0..=position).filter(|&key| near(query, key));
                let last = if self.shape.causal { place + 1 } else { block };
                let beside = (0..last).filter(|&other| near(place, other));
                chosen.push(
                    states
                        .chain(beside.map(|other| own + row * block + other))
                        .collect(),
                );
            }
        }
        chosen
    }

    /// Adds both halves to `x`, rows of blocks that see the keys and values `lent` too.
    fn forward(
        &self,
        run: &mut Run<'_>,
        x: &mut Matrix,
        [mut keys, mut values]: [Matrix; 2],
        chosen: &[Vec<usize>],
    ) -> Result<(), Error> {
        let normed = normalized(run, Some(&self.norm), x);
        let mut queries = self.query.forward(run, &normed)?;
        self.query_norm.apply(&mut queries);
        self.rope
            .apply(&mut queries, self.shape.key_len, &run.positions, &run.windows);
        let (own_keys, own_values) = self.keys(run, &normed)?;
        for (all, own) in [(&mut keys, own_keys), (&mut values, own_values)] {
            all.rows += own.rows;
            all.data.extend(own.data);
        }
        let mut mixed = run.scratch.take(x.rows, self.shape.heads * self.shape.value_len);
        attend_chosen(&queries, &keys, &values, &mut mixed, chosen, &self.shape);
        let mut attended = self.output.forward(run, &mixed)?;
        attended.scale(self.attention_scale);
        if let Some(norm) = &self.post_norm {
            norm.apply(&mut attended);
        }
        x.add(&attended);
        let input = normalized(run, Some(&self.mlp_norm), x);
        let mut out = self.mlp.forward(run, &input)?;
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
fn blocks(loader: &Loader<'_>, hyper: &Hyperparameters, eps: f32) -> Result<Vec<Block>, Error> {
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
        })
    }
}

/// DSpark's head, where there is one.
fn markov(loader: &Loader<'_>, hidden: usize) -> Result<Option<Markov>, Error> {
    let Some(info) = loader.info("markov_w1.weight") else {
        return Ok(None);
    };
    let rank = usize::try_from(info.row_len()).unwrap_or(usize::MAX);
    let own = Vocabulary::predicted(loader);
    loader.allowed("conf_proj.weight", &[hidden.saturating_add(rank), 1])?;
    loader.allowed("conf_proj.bias", &[1])?;
    Ok(Some(Markov {
        token: loader.embedding_of("markov_w1.weight", rank)?,
        head: loader.linear("markov_w2", rank, own)?,
    }))
}
