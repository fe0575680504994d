//! Gemma 4's assistants: layers without keys and values, which are those of the target's last two layers, on the embedding of
//! the next token beside the target's final state.

use std::ops::Range;

use super::{Own, States};
use crate::layers::{Attention, Input, Linear, Mixer};
use crate::model::{FULL, Layer, Logits, SLIDING, borrowing_layers};
use crate::ops::{Matrix, Norm};
use crate::weights::Loader;
use crate::{Error, Model};

#[derive(Debug)]
pub(crate) struct Assistant {
    /// Width of the target's states.
    width: usize,
    /// Of the next token's embedding and the state beside each other.
    project: Linear,
    layers: Vec<Layer>,
    output_norm: Norm,
    /// The draft's embeddings.
    head: Linear,
}

impl Assistant {
    pub(super) fn build(loader: &Loader<'_>) -> Result<Self, Error> {
        let keys = &loader.keys;
        let hidden = keys.count("embedding_length")?;
        let width = keys.count("embedding_length_out")?;
        let (blocks, predicting) = (keys.blocks()?, keys.count("nextn_predict_layers")?);
        if predicting != blocks {
            let expected = format!("all {blocks} layers");
            return Err(keys.refused("nextn_predict_layers", expected, predicting));
        }
        let eps = keys.float("attention.layer_norm_rms_epsilon")?;
        let tokens = loader.embedding(hidden)?.matrix.outputs;
        Ok(Self {
            width,
            project: loader.plain_linear("nextn.pre_projection", width.saturating_mul(2), hidden)?,
            layers: borrowing_layers(loader)?,
            output_norm: loader.rms_norm("output_norm", hidden, eps)?,
            head: loader.plain_linear("token_embd", hidden, tokens)?,
        })
    }

    /// The layers of the target whose keys and values it reads: the last that has a window, and the last that has none. An
    /// error is what is expected of another target.
    pub(super) fn layers(&self, target: &Model) -> Result<Vec<usize>, String> {
        let decoder = target.decoder();
        let (width, tokens) = (decoder.head.matrix.inputs, target.vocabulary());
        if width != self.width {
            return Err(format!("states of {} numbers, found {width}", self.width));
        }
        if tokens > self.head.matrix.outputs {
            return Err(format!(
                "at most the draft's {} tokens, found {tokens}",
                self.head.matrix.outputs
            ));
        }
        let attention = |layer: &usize| attention_of(decoder.layers.get(*layer)?);
        let last = |slides: bool| {
            let mut layers = (0..decoder.layers.len()).rev();
            let is_lender = |a: &Attention| !a.borrows() && a.shape.window.is_some() == slides;
            layers.find(|layer| attention(layer).is_some_and(is_lender))
        };
        let mut found = Vec::new();
        for (slot, kind) in [(SLIDING, "with a window"), (FULL, "without a window")] {
            let layer = last(slot == SLIDING).ok_or_else(|| format!("a layer {kind}, found none"))?;
            let mine = self.layers.iter().filter_map(attention_of);
            for mine in mine.filter(|mine| mine.slot == Some(slot)) {
                let sizes = |a: &Attention| (a.shape.kv_heads, a.shape.key_len, a.shape.value_len);
                let theirs = attention(&layer).map(sizes);
                if theirs != Some(sizes(mine)) {
                    return Err(format!(
                        "keys and values {kind} of heads, key's and value's elements {:?}, found {theirs:?}",
                        sizes(mine)
                    ));
                }
            }
            found.push(layer);
        }
        Ok(found)
    }

    /// Logits of these rows of every token but each window's first, beside the state of the token before it.
    pub(super) fn logits(
        &self,
        own: Own<'_>,
        states: &States<'_>,
        rows: &Range<usize>,
    ) -> Result<Logits, Error> {
        let mut draft = own.run(&states.following());
        let run = &mut draft;
        let target = states.target;
        let decoder = target.decoder();
        let mut other = target.begin(&states.following(), None)?;
        let mut embedded = decoder.embedding.forward(&mut other)?;
        embedded.scale((self.width as f32).sqrt());
        let mut x = self
            .project
            .forward(run, &super::beside(&embedded, &states.beside(&[&states.last])))?;
        run.kept = self.lent(states)?;
        // The state before a token is of the position before it, up to which there are keys.
        run.positions.iter_mut().for_each(|position| *position += 1);
        for layer in &self.layers {
            layer.forward(run, &mut x, false)?;
        }
        x.keep_rows(&states.of_following(rows));
        self.output_norm.apply(&mut x);
        let tokens = target.vocabulary();
        let made = self.head.range_of_input(run, &mut Input::new(&x), 0..tokens)?;
        Ok(Logits {
            rows: made.rows,
            vocabulary: tokens,
            data: made.data,
        })
    }

    /// Keys and values of the target, with a window and without.
    fn lent(&self, states: &States<'_>) -> Result<[(Matrix, Matrix); 2], Error> {
        let target = states.target;
        let mut run = target.begin(&states.all(), None)?;
        let mut lent = <[(Matrix, Matrix); 2]>::default();
        for ((kept, &layer), input) in lent.iter_mut().zip(&states.layers).zip(&states.inputs) {
            let layer = &target.decoder().layers[layer];
            let mut normed = input.clone();
            if let Some(norm) = &layer.attention_norm {
                norm.apply(&mut normed);
            }
            if let Some(attention) = attention_of(layer) {
                let (keys, values) = attention.lent(&mut run, &normed)?;
                *kept = (states.beside(&[&keys]), states.beside(&[&values]));
            }
        }
        Ok(lent)
    }
}

fn attention_of(layer: &Layer) -> Option<&Attention> {
    match &layer.attention {
        Mixer::Attention(attention) => Some(attention),
        _ => None,
    }
}
