//! DFlash (Chen et al., 2026) and DSpark: a block of tokens at a time, of which the first is known and the others are a mask.
//! Its layers see each other's places in the block and keys and values that are made of the target's states. DSpark adds what
//! it expects after the known token alone. DFlash 2 chooses among the likeliest tokens by what goes behind the known one.
//!
//! A whole block is computed: its places see each other. What comes before a place in a draft are the text's tokens here, while
//! stock llama.cpp takes those that were drafted.

mod blocks;
mod convolution;
mod deepseek4;
mod selector;

use std::ops::Range;

use self::blocks::Block;
use self::deepseek4::Deepseek4;
use self::selector::Selector;
use super::vocabulary::{Head, Vocabulary};
use super::{Own, States, cut, target_layers};
use crate::layers::{Embedding, Linear};
use crate::model::{Hyperparameters, Logits};
use crate::ops::{Matrix, Norm};
use crate::run::Run;
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
    layers: Layers,
    output_norm: Norm,
    vocabulary: Vocabulary,
    markov: Option<Markov>,
    selector: Option<Selector>,
}

#[derive(Debug)]
enum Layers {
    Usual(Vec<Block>),
    Deepseek4(Deepseek4),
}

impl Layers {
    /// Of each layer keys and values of rows of states.
    fn keys(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Vec<(Matrix, Matrix)>, Error> {
        match self {
            Self::Usual(layers) => layers.iter().map(|layer| layer.keys(run, x)).collect(),
            Self::Deepseek4(layers) => layers.keys(run, x),
        }
    }

    /// The final states, before their norm, of the rows `wanted` of blocks, of these embeddings.
    fn forward(
        &self,
        run: &mut Run<'_>,
        mut x: Matrix,
        pairs: &Pairs<'_>,
        lent: &[(Matrix, Matrix)],
        wanted: &[usize],
    ) -> Result<Matrix, Error> {
        match self {
            Self::Usual(layers) => {
                for (layer, (keys, values)) in layers.iter().zip(lent) {
                    let lent = [keys, values].map(|m| pairs.lent(m));
                    layer.forward(run, &mut x, lent, pairs)?;
                }
                x.keep_rows(wanted);
                Ok(x)
            }
            Self::Deepseek4(layers) => layers.forward(run, x, pairs, lent, wanted),
        }
    }
}

/// Expectations after a token alone.
#[derive(Debug)]
struct Markov {
    token: Embedding,
    head: Linear,
}

impl DFlash {
    pub(super) fn build(loader: &Loader<'_>) -> Result<Self, Error> {
        let keys = &loader.keys;
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
            layers: match keys.optional_count("hyper_connection.count")?.unwrap_or(0) {
                0 => Layers::Usual(blocks::read(loader, &hyper, eps)?),
                _ => Layers::Deepseek4(Deepseek4::read(loader, &hyper)?),
            },
            output_norm: loader.rms_norm("output_norm", hidden, eps)?,
            vocabulary: Vocabulary::build(loader, hidden, Head::OwnOrTied)?,
            markov,
            selector: Selector::read(loader, hidden)?,
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
        if let Some(selector) = &self.selector {
            selector.check(target)?;
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

    /// Tokens of the longest draft.
    pub(super) fn longest(&self) -> usize {
        self.block - self.first
    }

    /// Logits of what comes after these rows of every token but each window's first, of the states of the tokens before it; and
    /// of what comes after more, up to `places` in all: `see` is given those of each place of a draft, of the rows behind which as
    /// many more of `rows` come.
    pub(super) fn logits(
        &self,
        own: Own<'_>,
        states: &States<'_>,
        rows: &Range<usize>,
        places: usize,
        see: &mut dyn FnMut(Logits) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut run = own.run(&states.following());
        let inputs: Vec<&Matrix> = states.inputs.iter().collect();
        let mut fused = self.fuse.forward(&mut run, &states.beside(&inputs))?;
        self.fused_norm.apply(&mut fused);
        let lent = self.layers.keys(&mut run, &fused)?;
        // Each row's places beside each other.
        let mut last = Matrix::default();
        let windows: Vec<Range<usize>> = run.windows.iter().map(|window| cut(window, rows)).collect();
        // A block has at most as many rows.
        let at_once = ROWS / self.block;
        for (window, wanted) in run.windows.iter().zip(&windows) {
            for first in wanted.clone().step_by(at_once) {
                let pairs = Pairs {
                    tokens: &run.tokens,
                    window: window.clone(),
                    block: self.block,
                    rows: first..wanted.end.min(first + at_once),
                };
                let made = self.of_blocks(own, states.target, &pairs, &lent, places)?;
                last.rows += made.rows;
                last.cols = made.cols;
                last.data.extend(made.data);
            }
        }
        for place in 0..places {
            let (mut kept, mut before, mut row) = (Vec::new(), Vec::new(), 0);
            for wanted in &windows {
                let enough = wanted.len().saturating_sub(place);
                kept.extend((row..row + enough).map(|row| row * places + place));
                before.extend(&run.tokens[wanted.start + wanted.len() - enough..wanted.end]);
                row += wanted.len();
            }
            let mut x = last.clone();
            x.keep_rows(&kept);
            see(self.predicted(own, states.target, &x, &before)?)?;
        }
        Ok(())
    }

    /// Final states of the first `places` of a draft after each token of `pairs`.
    fn of_blocks(
        &self,
        own: Own<'_>,
        target: &Model,
        pairs: &Pairs<'_>,
        lent: &[(Matrix, Matrix)],
        places: usize,
    ) -> Result<Matrix, Error> {
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
        let first = (0..known.len()).map(|at| at * self.block + self.first);
        let predicting: Vec<usize> = first.flat_map(|first| first..first + places).collect();
        let mut x = self.layers.forward(&mut run, x, pairs, lent, &predicting)?;
        self.output_norm.apply(&mut x);
        Ok(x)
    }

    /// Logits of final states, of what comes behind the tokens `before`.
    fn predicted(&self, own: Own<'_>, target: &Model, x: &Matrix, before: &[u32]) -> Result<Logits, Error> {
        let mut run = own.run(&[(before, 0..usize::MAX)]);
        let more = match &self.markov {
            None => None,
            Some(markov) => {
                let token = markov.token.forward(&mut run)?;
                Some(markov.head.forward(&mut run, &token)?)
            }
        };
        let mut made = self.vocabulary.logits(&mut run, target, x, more.as_ref())?;
        if let Some(selector) = &self.selector {
            selector.select(own, before, x, &mut made)?;
        }
        Ok(made)
    }
}

/// Some rows of a window of tokens that follow another.
struct Pairs<'a> {
    /// All windows' tokens.
    tokens: &'a [u32],
    window: Range<usize>,
    rows: Range<usize>,
    /// Tokens of the block behind each.
    block: usize,
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

    /// For each row of the blocks the keys that it sees within a window: those of the states, after which come those of all
    /// blocks.
    fn chosen(&self, window: Option<usize>, causal: bool) -> Vec<Vec<usize>> {
        let own = self.rows.end - self.window.start;
        let near = |query: usize, key: usize| window.is_none_or(|window| query < key + window);
        let mut chosen = Vec::new();
        for row in 0..self.rows.len() {
            let position = self.position(row);
            for place in 0..self.block {
                let query = position + 1 + place;
                let states = (0..=position).filter(|&key| near(query, key));
                let last = if causal { place + 1 } else { self.block };
                let beside = (0..last).filter(|&other| near(place, other));
                chosen.push(
                    states
                        .chain(beside.map(|other| own + row * self.block + other))
                        .collect(),
                );
            }
        }
        chosen
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
