//! One batch of windows on its way through a model: the state that its layers share.

mod kept;
mod sides;

use std::ops::Range;

use gguf::GgufModel;
use quants::product::Panels;

use crate::ops::{Matrix, Norm, Products, Rounding, Scratch};
use crate::weights::{Replaced, Weights};
use crate::{Error, Result};

pub(crate) use kept::{Keeper, Kept, Part};
pub(crate) use sides::{Other, Rows};

/// Sees the input of every linear layer as it is computed.
pub trait Tap {
    /// `tensor` is the layer's weight (such as `blk.0.attn_q.weight`), `expert` the matrix inside it where it
    /// holds one for each expert. `input` holds rows of `columns` numbers, one row for each token that goes
    /// through the layer, in the order of the windows given to the model (through an expert: of the tokens
    /// that were sent to it). The embedding look-up is not a linear layer; the output matrix is one.
    fn linear(&mut self, tensor: &str, expert: Option<usize>, input: &[f32], columns: usize);

    /// `scale` times the output of the linear layer `tensor`, whose input comes later, will be added to `state`: one row
    /// for each token, in the same order. A linear layer whose output goes elsewhere, or through anything else on its
    /// way there, is not named.
    fn added_to(&mut self, _tensor: &str, _state: &[f32], _scale: f32) {}

    /// Whether it has seen all that it wants. A staged pass ([`crate::Staged::observe`]) then goes no further.
    fn is_done(&self) -> bool {
        false
    }
}

/// State that all layers of one pass share.
pub(crate) struct Run<'a> {
    pub(crate) gguf: &'a GgufModel,
    /// All windows' tokens, one row of every matrix for each.
    pub(crate) tokens: Vec<u32>,
    /// Rows of each window.
    pub(crate) windows: Vec<Range<usize>>,
    /// Position of each row in its window.
    pub(crate) positions: Vec<usize>,
    /// Rows whose logits are wanted.
    pub(crate) wanted: Vec<usize>,
    /// The other text of a model that has two.
    pub(crate) other: Other,
    /// Keys and values that later layers borrow.
    pub(crate) kept: [(Matrix, Matrix); 2],
    /// Further input of the layers: for each row all layers' vectors.
    pub(crate) per_layer: Option<Matrix>,
    /// States beside those that go from layer to layer ([`crate::model::Streams`]).
    pub(crate) streams: Vec<Matrix>,
    /// For each row the rows whose keys it sees, where an indexer chose them.
    pub(crate) chosen: Option<Vec<Vec<usize>>>,
    /// Numbers that are rounded besides the weights.
    pub(crate) rounding: Rounding,
    /// Implementation of matrix products.
    pub(crate) products: Products,
    /// Tensors that stand in for the file's.
    pub(crate) replaced: Option<&'a Replaced>,
    pub(crate) scratch: Scratch,
    /// Results of the layer kept for the next time.
    pub(crate) keeper: Option<Keeper<'a>>,
    /// The values of the first layer, which RWKV 7 mixes into those of the others.
    pub(crate) first_values: Vec<f32>,
    /// For each row the adapter that is added to its weights; 0 is none. Empty in a model without.
    pub(crate) adapters: Vec<usize>,
    /// The tile of decoded weights in use.
    pub(crate) tile: Vec<f32>,
    /// The tile of weights in use where products are of integers.
    pub(crate) panels: Panels,
    tap: Option<&'a mut dyn Tap>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        gguf: &'a GgufModel,
        windows: &[(&[u32], Range<usize>)],
        tap: Option<&'a mut dyn Tap>,
    ) -> Self {
        let Rows {
            tokens,
            windows,
            positions,
            wanted,
        } = Rows::new(windows);
        Self {
            gguf,
            tokens,
            windows,
            positions,
            wanted,
            other: Other::default(),
            kept: Default::default(),
            per_layer: None,
            streams: Vec::new(),
            chosen: None,
            rounding: Rounding::default(),
            products: Products::default(),
            replaced: None,
            scratch: Scratch::default(),
            keeper: None,
            first_values: Vec::new(),
            adapters: Vec::new(),
            tile: Vec::new(),
            panels: Panels::default(),
            tap,
        }
    }

    /// Access to the blocks of weights.
    pub(crate) fn weights(&self) -> Weights<'a> {
        Weights {
            gguf: self.gguf,
            replaced: self.replaced,
        }
    }

    /// Shows the state `x`, to which `scale` times the output of a linear layer will be added, to the tap.
    pub(crate) fn added_to(&mut self, x: &Matrix, tensor: &str, scale: f32) {
        if let Some(tap) = &mut self.tap {
            tap.added_to(tensor, &x.data, scale);
        }
    }

    /// Shows a linear layer's input to the tap, if there is one.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the tap wants no more.
    pub(crate) fn tap(&mut self, tensor: &str, expert: Option<usize>, x: &Matrix) -> Result<()> {
        if let Some(tap) = &mut self.tap {
            tap.linear(tensor, expert, &x.data, x.cols);
            if tap.is_done() {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }
}

/// Drops rows that nobody wants, of a layer's matrices and of what goes from layer to layer beside them.
pub(crate) fn keep_wanted<const N: usize>(run: &mut Run<'_>, matrices: [&mut Matrix; N]) {
    for matrix in matrices {
        matrix.keep_rows(&run.wanted);
    }
    if let Some(given) = &mut run.per_layer {
        given.keep_rows(&run.wanted);
    }
    if !run.adapters.is_empty() {
        run.adapters = run.wanted.iter().map(|&row| run.adapters[row]).collect();
    }
    for stream in &mut run.streams {
        stream.keep_rows(&run.wanted);
    }
    run.tokens = run.wanted.iter().map(|&row| run.tokens[row]).collect();
}

/// A copy of `x`, normalized where there is a norm.
pub(crate) fn normalized(run: &mut Run<'_>, norm: Option<&Norm>, x: &Matrix) -> Matrix {
    let mut out = run.scratch.take(x.rows, x.cols);
    match norm {
        Some(norm) => norm.apply_to_copy(x, &mut out),
        None => out.copy_from(x),
    }
    out
}
