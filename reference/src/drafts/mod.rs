//! Draft models: what they expect of a text by the states of the model that they draft for.

mod acceptance;
mod assistant;
mod dflash;
mod drafter;
mod eagle3;
mod states;
mod vocabulary;

use std::ops::Range;
use std::path::PathBuf;

use gguf::{Array, GgufModel};

pub use self::acceptance::{AcceptanceReport, Accepted, Ways, WindowMean, acceptance};
use self::assistant::Assistant;
use self::dflash::DFlash;
pub use self::drafter::Drafter;
pub(crate) use self::eagle3::{EAGLE3_LAYERS, Eagle3};
pub use self::states::States;
use crate::model::{Logits, Model};
use crate::ops::{Matrix, Rounding};
use crate::run::Run;
use crate::weights::Loader;
use crate::{Error, Result};

/// A draft model, which has no sense without its target: the model whose states it goes on from ([`States`]).
#[derive(Debug)]
pub struct Draft {
    gguf: GgufModel,
    path: PathBuf,
    graph: Graph,
    rounding: Rounding,
}

/// A draft's weights, and what is rounded besides.
#[derive(Clone, Copy)]
struct Own<'a> {
    gguf: &'a GgufModel,
    rounding: Rounding,
}

impl<'a> Own<'a> {
    /// A run of the draft over these tokens.
    fn run(self, sequences: &[(&[u32], Range<usize>)]) -> Run<'a> {
        let mut run = Run::new(self.gguf, sequences, None);
        run.rounding = self.rounding;
        run
    }
}

#[derive(Debug)]
pub(crate) enum Graph {
    Eagle3(Box<Eagle3>),
    Assistant(Box<Assistant>),
    DFlash(Box<DFlash>),
}

/// Builds a draft's graph from a file's keys and tensors.
type Build = fn(&Loader<'_>) -> Result<Graph>;

/// The architectures of drafts: `general.architecture` and what builds the graph.
const ARCHITECTURES: [(&str, Build); 3] = [
    ("dflash", |loader| {
        Ok(Graph::DFlash(Box::new(DFlash::build(loader)?)))
    }),
    ("eagle3", |loader| {
        Ok(Graph::Eagle3(Box::new(Eagle3::build(loader)?)))
    }),
    ("gemma4-assistant", |loader| {
        Ok(Graph::Assistant(Box::new(Assistant::build(loader)?)))
    }),
];

/// The values of `general.architecture` that [`Draft`] can run.
pub fn draft_architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|(name, _)| *name)
}

/// Builds the graph of a draft; `None` for other architectures.
pub(crate) fn build(architecture: &str, loader: &Loader<'_>) -> Option<Result<Graph>> {
    let (_, build) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture)?;
    Some(build(loader))
}

impl Draft {
    /// A draft of a graph that was built from the file.
    pub(crate) fn new(gguf: GgufModel, path: PathBuf, graph: Graph) -> Self {
        Self {
            gguf,
            path,
            graph,
            rounding: Rounding::None,
        }
    }

    /// The same draft, rounding more than its weights.
    #[must_use]
    pub fn with_rounding(self, rounding: Rounding) -> Self {
        Self { rounding, ..self }
    }

    /// The file.
    pub fn gguf(&self) -> &GgufModel {
        &self.gguf
    }

    /// The logits of every token of each window but the first, beside the states of the token before it: what the draft
    /// expects to come after the token. Rows are a window's tokens but one, window after window, of as many numbers as the
    /// target has tokens. Tokens that the draft never predicts are infinitely unlikely.
    ///
    /// Row `p` of a window stands beside row `p + 1` of the target's ([`States::logits`]): both are of token `p + 2`.
    ///
    /// # Errors
    /// States that were made for a draft that reads others, and weights that cannot be read.
    pub fn forward(&self, states: &States<'_>) -> Result<Logits> {
        let all = self.forward_places(states, 1)?;
        let none = || self.error("states: expected one place of logits, found none".to_owned());
        all.into_iter().next().ok_or_else(none)
    }

    /// Expectations of a draft of several tokens, which are the text's: logits as those of [`Self::forward`] for each of its
    /// `places` tokens. Those of a later one are of fewer rows, as there have to be as many tokens behind a row: row `p` of place
    /// `k` stands beside row `p + k + 1` of the target's.
    ///
    /// # Errors
    /// As [`Self::forward`], and of more places than [`Self::longest`], or none.
    pub fn forward_places(&self, states: &States<'_>, places: usize) -> Result<Vec<Logits>> {
        let mut all = Vec::new();
        self.each_place(states, 0..usize::MAX, places, &mut |made| {
            all.push(made);
            Ok(())
        })?;
        Ok(all)
    }

    /// Tokens of the longest draft that a text tells of: those of a block, and otherwise one, as a draft goes on from states of its
    /// own after that.
    pub fn longest(&self) -> usize {
        match &self.graph {
            Graph::Eagle3(_) | Graph::Assistant(_) => 1,
            Graph::DFlash(graph) => graph.longest(),
        }
    }

    /// [`Self::forward_places`] of these rows of each window alone, cut to those that it has, a place at a time.
    fn each_place(
        &self,
        states: &States<'_>,
        rows: Range<usize>,
        places: usize,
        see: &mut dyn FnMut(Logits) -> Result<()>,
    ) -> Result<()> {
        let layers = self.layers(states.target)?;
        if layers != states.layers {
            return Err(self.error(format!(
                "states: expected those of layers {layers:?} of the target, found {:?}",
                states.layers
            )));
        }
        if !(1..=self.longest()).contains(&places) {
            return Err(self.error(format!(
                "tokens of a draft: expected 1 to {}, found {places}",
                self.longest()
            )));
        }
        let own = Own {
            gguf: &self.gguf,
            rounding: self.rounding,
        };
        match &self.graph {
            Graph::Eagle3(graph) => see(graph.logits(own, states, &rows)?),
            Graph::Assistant(graph) => see(graph.logits(own, states, &rows)?),
            Graph::DFlash(graph) => graph.logits(own, states, &rows, places, see),
        }
    }

    /// Layers of a target that are read.
    fn layers(&self, target: &Model) -> Result<Vec<usize>> {
        let layers = match &self.graph {
            Graph::Eagle3(graph) => graph.layers(target),
            Graph::Assistant(graph) => graph.layers(target),
            Graph::DFlash(graph) => graph.layers(target),
        };
        layers.map_err(|message| self.error(format!("the target: expected {message}")))
    }

    fn error(&self, message: String) -> Error {
        Error::Model {
            path: self.path.clone(),
            message,
        }
    }
}

/// Of rows of a window, those that are wanted, by their places in the window.
fn cut(window: &Range<usize>, wanted: &Range<usize>) -> Range<usize> {
    let at = |place: usize| window.end.min(window.start.saturating_add(place));
    at(wanted.start)..at(wanted.end)
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

/// The layers of the target that a file names.
fn target_layers(loader: &Loader<'_>, count: Option<usize>) -> Result<Vec<usize>> {
    let suffix = "target_layers";
    let named: Option<Vec<usize>> = match loader.keys.array(suffix)? {
        Array::I32(all) => all.iter().map(|&n| usize::try_from(n).ok()).collect(),
        Array::U32(all) => Some(all.iter().map(|&n| n as usize).collect()),
        _ => None,
    };
    let right = |layers: &Vec<usize>| loader.is_declared() || count.is_none_or(|count| layers.len() == count);
    match named.filter(right) {
        Some(layers) => Ok(layers),
        None => {
            let count = count.map_or_else(String::new, |count| format!("{count} "));
            let expected = format!("{count}layers of the target (i32)");
            Err(loader.keys.refused(suffix, expected, "another list"))
        }
    }
}

/// Checks that a target has these layers, whose inputs are `width` wide. The number of one may be one more than the last
/// layer's: then what that one puts out is meant. An error is what is expected of another target.
fn expect_layers(target: &Model, layers: &[usize], width: usize) -> std::result::Result<(), String> {
    let decoder = target.decoder();
    let (count, found) = (decoder.layers.len(), decoder.head.matrix.inputs);
    if let Some(layer) = layers.iter().find(|&&layer| layer > count) {
        return Err(format!(
            "layer {layer}, which the draft reads, found {count} layers"
        ));
    }
    match found == width {
        true => Ok(()),
        false => Err(format!("states of {width} numbers, found {found}")),
    }
}
