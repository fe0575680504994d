//! The decoder-only transformer that most architectures are a variant of.

use std::ops::Range;

use crate::Result;
use crate::layers::{
    AltUp, BesideExperts, ChannelMix, Copies, Embedding, FeedForward, Grams, Linear, Mixer, Mixture,
    PerLayer, PerLayerInputs, PosNet, Routes, Switch,
};
use crate::ops::{Matrix, Norm};
use crate::run::{Run, keep_wanted, normalized};
use crate::weights::{Loader, reading_ahead};

use super::classifier::Classifier;
use super::makes::Makes;
use super::residual::{Ends, Residual};
use super::sides::{Across, Sides};

/// Embedding, layers, final norm and the matrix to logits.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) embedding: Embedding,
    /// Factor on the embeddings.
    pub(crate) embedding_scale: f32,
    /// Learned vectors that are added by position.
    pub(crate) positions: Option<Embedding>,
    /// Added to every embedding; nothing, or one number for each column.
    pub(crate) embedding_shift: Vec<f32>,
    pub(crate) embedding_norm: Option<Norm>,
    /// Of a decoder of sound: what comes before that norm.
    pub(crate) front: Option<Box<PosNet>>,
    pub(crate) per_layer: Option<PerLayerInputs>,
    /// Tokens that turn adapters on.
    pub(crate) switch: Option<Switch>,
    /// Copies of the state that go through the layers side by side.
    pub(crate) copies: Option<Copies>,
    pub(crate) ends: Ends,
    pub(crate) streams: Streams,
    /// Of a model with an encoder, whose layers are the first.
    pub(crate) sides: Option<Sides>,
    pub(crate) makes: Makes,
    /// Makes scores of labels of the states.
    pub(crate) classifier: Option<Box<Classifier>>,
    /// Layers that embeddings go through behind the pooling.
    pub(crate) modules: Vec<Linear>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) output_norm: Option<Norm>,
    pub(crate) head: Linear,
    /// Factor on the logits.
    pub(crate) logit_scale: f32,
    /// `cap * tanh(logit / cap)`.
    pub(crate) logit_softcap: Option<f32>,
    /// Tokens that are never predicted: their logits are the lowest number that there is.
    pub(crate) muted: Range<usize>,
}

/// States beside those that go from layer to layer, as they are before the first layer.
#[derive(Debug)]
pub(crate) enum Streams {
    None,
    /// The embeddings.
    Embeddings,
    /// Two levels (HRM): the upper one begins as the embeddings, the lower one as this vector.
    Levels(Vec<f32>),
}

/// `x += attention(norm(x)); x += mlp(norm(x))`, with norms of what is added where an architecture has them.
#[derive(Debug)]
pub(crate) struct Layer {
    /// `None`: attention sees the layer's input as it is.
    pub(crate) attention_norm: Option<Norm>,
    pub(crate) attention: Mixer,
    pub(crate) attention_post_norm: Option<Norm>,
    /// `None`: the second half sees its input as it is; in a parallel layer, what attention sees.
    pub(crate) mlp_norm: Option<Norm>,
    pub(crate) mlp: Mlp,
    pub(crate) mlp_post_norm: Option<Norm>,
    /// Whether both halves see the layer's input: `x += attention(norm(x)) + mlp(norm(x))`.
    pub(crate) parallel: bool,
    /// Factor on what the halves add.
    pub(crate) residual_scale: f32,
    /// Whether the norms after the halves are of the sums instead of what is added.
    pub(crate) norms_follow_sums: bool,
    /// A further input of the layer.
    pub(crate) per_layer: Option<Box<PerLayer>>,
    /// Factor on all that leaves the layer.
    pub(crate) output_scale: f32,
    /// A second use of the layer's input.
    pub(crate) early: Option<Early>,
    /// Where norms follow sums: a second sum of the layer's input and what the first norm makes, with a norm of its own.
    pub(crate) attention_again: Option<Norm>,
    /// Of a model with copies of the state: what goes on between them.
    pub(crate) copies: Option<Box<AltUp>>,
    /// Factor on what a half sees, to which what it makes is added; `None`: it is added to the half's input.
    pub(crate) seen_scale: Option<f32>,
    pub(crate) stream: Stream,
    pub(crate) residual: Residual,
    /// Added to the layer's input, where there are copies of the state.
    pub(crate) grams: Option<Box<Grams>>,
    /// Attention to what an encoder made, between the halves.
    pub(crate) across: Option<Box<Across>>,
}

/// A layer's part in the [`Streams`].
#[derive(Debug)]
pub(crate) enum Stream {
    None,
    /// The stream times this is added to what leaves the layer.
    Added(f32),
    /// Layers of a level.
    Level(Level),
}

/// Place of a layer in a stack that is run for one of two levels.
#[derive(Debug)]
pub(crate) struct Level {
    /// Whether the stack begins with it, whose input is the sum of both levels.
    pub(crate) opens: bool,
    /// The number of the level whose state the stack makes, and the norm of it, where the stack ends with this layer.
    pub(crate) closes: Option<(usize, Norm)>,
}

/// A use of a layer's input beside attention.
#[derive(Debug)]
pub(crate) enum Early {
    /// The output of these experts is added to the layer's.
    Experts(Norm, Box<Mixture>),
    /// It is what the router of the second half sees.
    Choice,
}

impl Layer {
    /// A layer whose halves follow one another, each behind its norm.
    pub(crate) fn new(
        attention_norm: Norm,
        attention: impl Into<Mixer>,
        mlp_norm: impl Into<Option<Norm>>,
        mlp: Mlp,
    ) -> Self {
        Self {
            attention_norm: Some(attention_norm),
            mlp_norm: mlp_norm.into(),
            ..Self::without_norms(attention, mlp)
        }
    }

    /// A layer whose halves follow one another, and see their inputs as they are.
    pub(crate) fn without_norms(attention: impl Into<Mixer>, mlp: Mlp) -> Self {
        Self {
            attention_norm: None,
            attention: attention.into(),
            attention_post_norm: None,
            mlp_norm: None,
            mlp,
            mlp_post_norm: None,
            parallel: false,
            residual_scale: 1.0,
            norms_follow_sums: false,
            per_layer: None,
            output_scale: 1.0,
            early: None,
            attention_again: None,
            copies: None,
            seen_scale: None,
            stream: Stream::None,
            residual: Residual::Sum,
            grams: None,
            across: None,
        }
    }

    /// Intermediate results, in numbers for each token.
    fn width(&self) -> usize {
        let across = self.across.as_ref().map_or(0, |across| across.attention.width());
        self.attention.width().max(self.mlp.width()).max(across) + self.residual.width()
    }
}

/// `x += part(norm(x))`.
pub(super) fn add_part(
    run: &mut Run<'_>,
    norm: Option<&Norm>,
    x: &mut Matrix,
    part: impl FnOnce(&mut Run<'_>, &Matrix) -> Result<Matrix>,
) -> Result<()> {
    let input = normalized(run, norm, x);
    let out = part(run, &input)?;
    run.scratch.give(input);
    x.add(&out);
    run.scratch.give(out);
    Ok(())
}

/// The second half of a layer.
#[derive(Debug)]
pub(crate) enum Mlp {
    /// There is none.
    None,
    Dense(Box<FeedForward>),
    Mixture(Box<Mixture>),
    /// Sees the row before each row too.
    Channels(Box<ChannelMix>),
    BesideExperts(Box<BesideExperts>),
}

impl Mlp {
    pub(super) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        match self {
            Self::None => Ok(Matrix::default()),
            Self::Dense(layer) => layer.forward(run, x),
            Self::Mixture(layer) => layer.forward(run, x),
            Self::Channels(layer) => layer.forward(run, x),
            Self::BesideExperts(layer) => layer.forward(run, x),
        }
    }

    /// The linear layer whose output is the half's, where one is.
    fn last(&self) -> Option<&Linear> {
        match self {
            Self::Dense(layer) => Some(&layer.down),
            Self::None | Self::Mixture(_) | Self::Channels(_) | Self::BesideExperts(_) => None,
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Dense(layer) => layer.width(),
            Self::Mixture(layer) => layer.width(),
            Self::Channels(layer) => layer.width(),
            Self::BesideExperts(layer) => layer.width(),
        }
    }
}

impl Decoder {
    /// A model without factors, caps or learned positions.
    pub(crate) fn new(embedding: Embedding, layers: Vec<Layer>, output_norm: Norm, head: Linear) -> Self {
        Self {
            output_norm: Some(output_norm),
            ..Self::without_norm(embedding, layers, head)
        }
    }

    /// The same of these layers, between the embeddings and an output matrix behind an RMS norm.
    pub(super) fn of_layers(
        loader: &Loader<'_>,
        hidden: usize,
        eps: f32,
        layers: Vec<Layer>,
    ) -> Result<Self> {
        let embedding = loader.embedding(hidden)?;
        let output_norm = loader.rms_norm("output_norm", hidden, eps)?;
        let head = loader.head(hidden, embedding.matrix.outputs)?;
        Ok(Self::new(embedding, layers, output_norm, head))
    }

    /// The same without a norm before the output matrix.
    pub(crate) fn without_norm(embedding: Embedding, layers: Vec<Layer>, head: Linear) -> Self {
        Self {
            embedding,
            embedding_scale: 1.0,
            positions: None,
            embedding_shift: Vec::new(),
            embedding_norm: None,
            front: None,
            per_layer: None,
            switch: None,
            copies: None,
            ends: Ends::None,
            streams: Streams::None,
            sides: None,
            makes: Makes::Predictions,
            classifier: None,
            modules: Vec::new(),
            layers,
            output_norm: None,
            head,
            logit_scale: 1.0,
            logit_softcap: None,
            muted: 0..0,
        }
    }

    /// The longest window that can be run, where positions are learned.
    pub(crate) fn longest_window(&self) -> Option<usize> {
        self.positions.as_ref().map(|p| p.matrix.outputs)
    }

    /// The normalized final states of the wanted rows.
    pub(crate) fn forward(&self, run: &mut Run<'_>) -> Result<Matrix> {
        let mut x = self.embed(run)?;
        let (gguf, replaced, tokens) = (run.gguf, run.replaced, run.tokens.len());
        reading_ahead(gguf, replaced, tokens, |ahead| -> Result<()> {
            ahead.layer(0);
            for (index, layer) in self.layers.iter().enumerate() {
                let last = index + 1 == self.layers.len();
                match last {
                    false => ahead.layer(index + 1),
                    true => ahead.tensor(self.head.matrix.tensor),
                }
                layer.forward(run, &mut x, last)?;
            }
            Ok(())
        })?;
        self.finish(run, x)
    }

    /// Steps between the last layer and the output matrix.
    pub(crate) fn finish(&self, run: &mut Run<'_>, mut x: Matrix) -> Result<Matrix> {
        if let Some(copies) = &self.copies {
            x = copies.merge(run, x)?;
        }
        x = self.ends.end(run, x)?;
        if let Some(norm) = &self.output_norm {
            norm.apply(&mut x);
        }
        Ok(x)
    }

    /// Input of the first layer.
    pub(crate) fn embed(&self, run: &mut Run<'_>) -> Result<Matrix> {
        let mut x = self.embedding.forward(run)?;
        if let Some(front) = &self.front {
            x = front.forward(run, x)?;
        }
        x.scale(self.embedding_scale);
        if let Some(positions) = &self.positions {
            positions.add_positions(run, &mut x)?;
        }
        if !self.embedding_shift.is_empty() {
            for row in x.data.chunks_exact_mut(x.cols) {
                for (x, shift) in row.iter_mut().zip(&self.embedding_shift) {
                    *x += shift;
                }
            }
        }
        if let Some(norm) = &self.embedding_norm {
            norm.apply(&mut x);
        }
        if let Some(inputs) = &self.per_layer {
            inputs.forward(run, &x)?;
        }
        if self.sides.is_some() {
            run.exchange_rows();
            run.other.states = self.embedding.forward(run)?;
            run.exchange_rows();
        }
        if let Some(copies) = &self.copies {
            x = copies.spread(run, x)?;
        }
        x = self.ends.begin(run, x);
        run.streams = match &self.streams {
            Streams::None => Vec::new(),
            Streams::Embeddings => vec![x.clone()],
            Streams::Levels(first) => {
                let mut low = x.clone();
                for row in low.data.chunks_exact_mut(low.cols) {
                    row.copy_from_slice(first);
                }
                vec![x.clone(), low]
            }
        };
        Ok(x)
    }

    /// Scaling and capping of logits after the matrix. `logits` are rows for this part of the vocabulary.
    pub(crate) fn finish_logits(&self, logits: &mut [f32], tokens: Range<usize>) {
        if self.logit_scale != 1.0 {
            logits.iter_mut().for_each(|x| *x *= self.logit_scale);
        }
        if let Some(cap) = self.logit_softcap {
            for x in logits.iter_mut() {
                *x = cap * (*x / cap).tanh();
            }
        }
        let muted = self.muted.start.max(tokens.start)..self.muted.end.min(tokens.end);
        if !muted.is_empty() {
            for row in logits.chunks_exact_mut(tokens.len()) {
                row[muted.start - tokens.start..muted.end - tokens.start].fill(f32::MIN);
            }
        }
    }

    /// Most intermediate results that exist at a time, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        let widest = self.layers.iter().map(Layer::width).max();
        let kept = self.layers.iter().filter(|l| l.residual.keeps_state()).count();
        let front = self.front.as_ref().map_or(0, |front| front.width());
        let copies = self
            .copies
            .as_ref()
            .map_or(2 * self.ends.copies(), |c| 3 * c.count)
            + kept
            + usize::from(self.sides.is_some());
        // States may be wider than embeddings are.
        let columns = self.embedding.matrix.inputs.max(self.head.matrix.inputs);
        columns * (4 + copies) + widest.unwrap_or(0).max(front)
    }
}

impl Layer {
    /// A norm after a half as what it is: of what is added, or of the sum.
    fn sides<'n>(&self, norm: &'n Option<Norm>) -> (Option<&'n Norm>, Option<&'n Norm>) {
        match self.norms_follow_sums {
            false => (norm.as_ref(), None),
            true => (None, norm.as_ref()),
        }
    }

    /// Whether what a half puts out is added to the state as it is, but for a factor. `after` is the norm behind the half.
    fn is_added(&self, after: &Option<Norm>) -> bool {
        self.sides(after).0.is_none() && self.seen_scale.is_none()
    }

    /// The same of attention, which may be added twice.
    fn attention_is_added(&self) -> bool {
        self.attention_again.is_none() && self.is_added(&self.attention_post_norm)
    }

    /// Adds the second half to `x`, for layers without attention.
    fn second_half_alone(&self, run: &mut Run<'_>, x: &mut Matrix, last: bool) -> Result<()> {
        if last && run.wanted.len() < x.rows {
            x.keep_rows(&run.wanted);
        }
        if matches!(self.mlp, Mlp::None) {
            return Ok(());
        }
        if let Some(last) = self.mlp.last() {
            last.added_to(run, x, 1.0);
        }
        add_part(run, self.mlp_norm.as_ref(), x, |run, input| {
            self.mlp.forward(run, input)
        })
    }

    /// Output of experts for the layer's input, or their choice by it.
    fn early(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Option<Matrix>, Option<Routes>)> {
        match (&self.early, &self.mlp) {
            (Some(Early::Experts(norm, experts)), _) => {
                let input = normalized(run, Some(norm), x);
                let made = experts.forward(run, &input)?;
                run.scratch.give(input);
                Ok((Some(made), None))
            }
            (Some(Early::Choice), Mlp::Mixture(experts)) => Ok((None, Some(experts.routes(run, x)?))),
            _ => Ok((None, None)),
        }
    }

    /// Adds what attention made of `normed` to the layer's input `x`, and gives the input of the second half.
    fn second_input(&self, run: &mut Run<'_>, x: &mut Matrix, normed: Matrix, attended: &Matrix) -> Matrix {
        if self.parallel {
            let Some(norm) = &self.mlp_norm else {
                x.add(attended);
                return normed;
            };
            run.scratch.give(normed);
            let input = normalized(run, Some(norm), x);
            x.add(attended);
            return input;
        }
        self.rebase(x, &normed);
        run.scratch.give(normed);
        let input = self.attention_again.is_some().then(|| normalized(run, None, x));
        x.add(attended);
        if let (_, Some(norm)) = self.sides(&self.attention_post_norm) {
            norm.apply(x);
        }
        if let (Some(norm), Some(input)) = (&self.attention_again, input) {
            x.add(&input);
            norm.apply(x);
            run.scratch.give(input);
        }
        normalized(run, self.mlp_norm.as_ref(), x)
    }

    /// Adds both halves to `x`. In the last layer, rows that nobody wants are dropped once attention has seen
    /// them: from there on rows do not see each other (but in RWKV).
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &mut Matrix, last: bool) -> Result<()> {
        if let Some(copies) = &self.copies {
            return self.through_copies(run, copies, x, last);
        }
        if let Some(across) = &self.across {
            return self.through_across(run, across, x, last);
        }
        if !matches!(self.residual, Residual::Sum) {
            return self.through_residual(run, x, last);
        }
        if matches!(self.attention, Mixer::None) {
            return self.second_half_alone(run, x, last);
        }
        if let Stream::Level(Level { opens: true, .. }) = self.stream {
            x.copy_from(&run.streams[0]);
            x.add(&run.streams[1]);
        }
        let mut normed = normalized(run, self.attention_norm.as_ref(), x);
        if let Some(output) = self.attention.last().filter(|_| self.attention_is_added()) {
            output.added_to(run, x, self.residual_scale);
        }
        let mut attended = self.attention.forward(run, &normed)?;
        let drops = last && run.wanted.len() < x.rows;
        let rows_are_apart = !matches!(self.mlp, Mlp::Channels(_));
        if drops && rows_are_apart {
            keep_wanted(run, [&mut attended, &mut normed, x]);
        }
        let (early, routes) = self.early(run, x)?;
        if let (Some(norm), _) = self.sides(&self.attention_post_norm) {
            norm.apply(&mut attended);
        }
        attended.scale(self.residual_scale);
        if matches!(self.mlp, Mlp::None) {
            x.add(&attended);
            run.scratch.give(attended);
            run.scratch.give(normed);
            return Ok(());
        }
        let input = self.second_input(run, x, normed, &attended);
        run.scratch.give(attended);
        if let Some(last) = self.mlp.last().filter(|_| self.is_added(&self.mlp_post_norm)) {
            last.added_to(run, x, self.residual_scale);
        }
        let mut out = match (&self.mlp, &routes) {
            (Mlp::Mixture(experts), Some(routes)) => experts.along(run, &input, routes)?,
            (mlp, _) => mlp.forward(run, &input)?,
        };
        self.rebase(x, &input);
        run.scratch.give(input);
        let (before, after) = self.sides(&self.mlp_post_norm);
        if let Some(norm) = before {
            norm.apply(&mut out);
        }
        out.scale(self.residual_scale);
        x.add(&out);
        if let Some(norm) = after {
            norm.apply(x);
        }
        run.scratch.give(out);
        if let Some(early) = early {
            x.add(&early);
            run.scratch.give(early);
        }
        if let Some(given) = &self.per_layer {
            given.add_to(run, x)?;
        }
        x.scale(self.output_scale);
        self.leave(run, x);
        if drops && !rows_are_apart {
            x.keep_rows(&run.wanted);
        }
        Ok(())
    }

    /// The layer where the state is more than one sum.
    fn through_residual(&self, run: &mut Run<'_>, x: &mut Matrix, last: bool) -> Result<()> {
        if let Some(grams) = &self.grams {
            grams.add_to(run, x)?;
        }
        let (mut seen, mut shares) = self.residual.see(run, x, 0)?;
        if let Some(norm) = &self.attention_norm {
            norm.apply(&mut seen);
        }
        let mut made = self.attention.forward(run, &seen)?;
        run.scratch.give(seen);
        if last && run.wanted.len() < x.rows {
            keep_wanted(run, [&mut made, x]);
            if let Some(shares) = &mut shares {
                shares.keep_rows(&run.wanted);
            }
        }
        self.residual.put(run, x, &made, 0, shares);
        run.scratch.give(made);
        let (mut seen, shares) = self.residual.see(run, x, 1)?;
        if let Some(norm) = &self.mlp_norm {
            norm.apply(&mut seen);
        }
        let made = self.mlp.forward(run, &seen)?;
        run.scratch.give(seen);
        self.residual.put(run, x, &made, 1, shares);
        run.scratch.give(made);
        Ok(())
    }
}

impl Layer {
    /// The layer on the active of several copies of the state, which then corrects them all (Gemma 3n).
    fn through_copies(&self, run: &mut Run<'_>, copies: &AltUp, x: &mut Matrix, last: bool) -> Result<()> {
        let mut predicted = copies.predict(run, x)?;
        let mut active = copies.active_of(run, &predicted);
        let normed = normalized(run, self.attention_norm.as_ref(), &active);
        let mut beside = copies.beside(run, &normed)?;
        let mut attended = self.attention.forward(run, &normed)?;
        if last && run.wanted.len() < x.rows {
            keep_wanted(run, [&mut predicted, &mut active, &mut beside, &mut attended]);
        }
        if let Some(norm) = &self.attention_post_norm {
            norm.apply(&mut attended);
        }
        attended.add(&active);
        attended.add(&beside);
        attended.scale(std::f32::consts::FRAC_1_SQRT_2);
        let input = normalized(run, self.mlp_norm.as_ref(), &attended);
        let mut out = self.mlp.forward(run, &input)?;
        if let Some(norm) = &self.mlp_post_norm {
            norm.apply(&mut out);
        }
        out.add(&attended);
        copies.correct(run, &mut predicted, &out)?;
        if let Some(given) = &self.per_layer {
            let scaled = copies.scaled_active(run, &predicted);
            let more = given.made(run, &scaled)?;
            copies.add_to_others(&mut predicted, &more);
            run.scratch.give(scaled);
            run.scratch.give(more);
        }
        for matrix in [active, normed, beside, attended, input, out] {
            run.scratch.give(matrix);
        }
        run.scratch.give(std::mem::replace(x, predicted));
        Ok(())
    }

    /// Puts what a half saw in place of its input `x` where its result is added to that.
    fn rebase(&self, x: &mut Matrix, seen: &Matrix) {
        if let Some(scale) = self.seen_scale {
            x.copy_from(seen);
            x.scale(scale);
        }
    }

    /// The streams' part in what leaves the layer.
    fn leave(&self, run: &mut Run<'_>, x: &mut Matrix) {
        match &self.stream {
            Stream::Added(scale) => {
                for (x, added) in x.data.iter_mut().zip(&run.streams[0].data) {
                    *x += added * scale;
                }
            }
            Stream::Level(Level {
                closes: Some((level, norm)),
                ..
            }) => {
                norm.apply(x);
                run.streams[*level] = x.clone();
            }
            Stream::None | Stream::Level(_) => {}
        }
    }
}
