//! A forward pass that goes layer by layer over all of a text, so that tensors can be replaced on the way: whoever
//! encodes a layer sees the inputs that the tensors before it, already encoded, really make.

use std::ops::Range;
use std::sync::Arc;

use gguf::TensorType;

use super::{Model, Run, Tap};
use crate::ops::{Matrix, Products, Rounding};
use crate::weights::Replaced;
use crate::{Error, Result};

/// A text between two layers: what each batch of its windows hands on.
///
/// Products are portable ([`crate::portable`]), so that a tap sees the same bits on every machine.
pub struct Staged<'m> {
    model: &'m Model,
    batches: Vec<Batch>,
    replaced: Replaced,
    /// The layer that comes next.
    layer: usize,
}

/// Windows that run together, and what they are between layers.
struct Batch {
    windows: Vec<Vec<u32>>,
    state: State,
}

/// State that goes from layer to layer.
#[derive(Clone, Default)]
struct State {
    hidden: Matrix,
    kept: [(Matrix, Matrix); 2],
    per_layer: Option<Matrix>,
    chosen: Option<Vec<Vec<usize>>>,
    first_values: Vec<f32>,
}

impl State {
    fn give(self, run: &mut Run<'_>) -> Matrix {
        run.kept = self.kept;
        run.per_layer = self.per_layer;
        run.chosen = self.chosen;
        run.first_values = self.first_values;
        self.hidden
    }

    fn take(run: &mut Run<'_>, hidden: Matrix) -> Self {
        Self {
            hidden,
            kept: std::mem::take(&mut run.kept),
            per_layer: run.per_layer.take(),
            chosen: run.chosen.take(),
            first_values: std::mem::take(&mut run.first_values),
        }
    }
}

impl Model {
    /// Begins a staged pass over windows, each from its own beginning. `batches` are ranges of them that run
    /// together. `replaced` are tensors that stand in for the file's from the start, such as the embeddings.
    ///
    /// # Errors
    /// When a token is not below [`Model::vocabulary`], a window is longer than the model's positions, a tensor is not
    /// the model's, or weights cannot be read.
    pub fn staged(
        &self,
        windows: &[Vec<u32>],
        batches: &[Range<usize>],
        replaced: Vec<(String, TensorType, Arc<[u8]>)>,
    ) -> Result<Staged<'_>> {
        let mut staged = Staged {
            model: self,
            batches: Vec::new(),
            replaced: Replaced::new(),
            layer: 0,
        };
        for (name, ty, blocks) in replaced {
            staged.replace(&name, ty, blocks)?;
        }
        for range in batches {
            let windows = windows.get(range.clone()).unwrap_or_default().to_vec();
            let state = {
                let mut run = staged.run(&windows, None)?;
                let hidden = self.decoder.embed(&mut run)?;
                State::take(&mut run, hidden)
            };
            staged.batches.push(Batch { windows, state });
        }
        Ok(staged)
    }

    /// Layers of the model.
    pub fn layers(&self) -> usize {
        self.decoder.layers.len()
    }
}

impl<'m> Staged<'m> {
    /// Batches of windows.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Layers that are done.
    pub fn layer(&self) -> usize {
        self.layer
    }

    fn run<'a>(&'a self, windows: &[Vec<u32>], tap: Option<&'a mut dyn Tap>) -> Result<Run<'a>> {
        let views: Vec<(&[u32], Range<usize>)> =
            windows.iter().map(|w| (w.as_slice(), 0..usize::MAX)).collect();
        let mut run = self.model.begin(&views, tap)?;
        run.products = Products::Portable;
        // What is learned from are the weights' own products.
        run.rounding = Rounding::None;
        run.replaced = Some(&self.replaced);
        Ok(run)
    }

    /// Runs one batch through the next layer for what `tap` sees, as far as it wants ([`Tap::is_done`]). The batch
    /// stays where it is.
    ///
    /// # Errors
    /// When weights cannot be read.
    pub fn observe(&self, batch: usize, tap: &mut dyn Tap) -> Result<()> {
        match self.through(batch, Some(tap)) {
            Err(Error::Stopped) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn through<'a>(&'a self, batch: usize, tap: Option<&'a mut dyn Tap>) -> Result<State> {
        let Batch { windows, state } = &self.batches[batch];
        let mut run = self.run(windows, tap)?;
        let mut hidden = state.clone().give(&mut run);
        self.model.decoder.layers[self.layer].forward(&mut run, &mut hidden, false)?;
        Ok(State::take(&mut run, hidden))
    }

    /// Has these blocks stand in for a tensor's from now on.
    ///
    /// # Errors
    /// When the model has no such tensor, or the blocks are not as many as it needs.
    pub fn replace(&mut self, tensor: &str, ty: TensorType, blocks: Arc<[u8]>) -> Result<()> {
        let gguf = self.model.gguf();
        let index = gguf
            .find(tensor)
            .ok_or_else(|| self.model.error(format!("tensor {tensor} is missing")))?;
        let info = gguf.info(index);
        let expected = ty.row_bytes(info.row_len()).map(|bytes| bytes * info.rows());
        if expected != Some(blocks.len() as u64) {
            return Err(self.model.error(format!(
                "tensor {tensor} as {ty}: found {} bytes, expected {expected:?}",
                blocks.len()
            )));
        }
        self.replaced.insert(index, (ty, blocks));
        Ok(())
    }

    /// Takes all batches through the next layer, with all replacements so far, which are forgotten then.
    ///
    /// # Errors
    /// When weights cannot be read.
    pub fn advance(&mut self) -> Result<()> {
        for batch in 0..self.batches.len() {
            let state = self.through(batch, None)?;
            self.batches[batch].state = state;
        }
        self.layer += 1;
        self.replaced.clear();
        Ok(())
    }

    /// After the last layer: the input of the output matrix, of one batch.
    pub fn final_states(&self, batch: usize, tap: &mut dyn Tap) {
        let mut hidden = self.batches[batch].state.hidden.clone();
        if let Some(norm) = &self.model.decoder.output_norm {
            norm.apply(&mut hidden);
        }
        tap.linear(
            &self.model.decoder.head.matrix.name,
            None,
            &hidden.data,
            hidden.cols,
        );
    }
}
