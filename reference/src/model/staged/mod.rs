//! A forward pass that goes layer by layer over all of a text, so that tensors can be replaced on the way: whoever
//! encodes a layer sees the inputs that the tensors before it, already encoded, really make.

mod rest;
mod states;

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use gguf::TensorType;

pub use self::rest::StandIn;
use self::states::{State, States};
use super::Model;
use crate::ops::{Products, Rounding};
use crate::run::{Keeper, Kept, Run, Tap};
use crate::weights::{Other, Replaced};
use crate::{Error, Result};

/// A text between two layers: what each batch of its windows hands on.
///
/// Products are portable ([`crate::portable`]), so that a tap sees the same bits on every machine.
pub struct Staged<'m> {
    model: &'m Model,
    /// Windows that run together.
    batches: Vec<Vec<Vec<u32>>>,
    states: States,
    replaced: Replaced,
    /// The layer that comes next.
    layer: usize,
    keeping: Option<Keeping>,
}

/// Results kept of the next layer.
struct Keeping {
    /// Tensors that are to be replaced yet.
    open: HashSet<String>,
    results: RefCell<Results>,
}

struct Results {
    /// Of each batch.
    kept: Vec<Kept>,
    /// Numbers that may be kept besides.
    room: usize,
}

impl Model {
    /// Begins a staged pass over windows, each from its own beginning. `batches` are ranges of them that run
    /// together. `replaced` are tensors that stand in for the file's from the start, such as the embeddings. What goes
    /// from layer to layer is in memory, or in files in `folder`, which has to be empty and the caller's to remove.
    ///
    /// # Errors
    /// When a token is not below [`Model::vocabulary`], a window is longer than the model's positions, a tensor is not
    /// the model's, weights cannot be read, or files cannot be written.
    pub fn staged(
        &self,
        windows: &[Vec<u32>],
        batches: &[Range<usize>],
        replaced: Vec<(String, TensorType, Arc<[u8]>)>,
        folder: Option<&Path>,
    ) -> Result<Staged<'_>> {
        let mut staged = Staged {
            model: self,
            batches: Vec::new(),
            states: States::new(folder)?,
            replaced: Replaced::new(),
            layer: 0,
            keeping: None,
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
            staged.states.add(state)?;
            staged.batches.push(windows);
        }
        Ok(staged)
    }

    /// Layers of the model.
    pub fn layers(&self) -> usize {
        self.decoder.layers.len()
    }
}

impl Staged<'_> {
    /// Batches of windows.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Layers that are done.
    pub fn layer(&self) -> usize {
        self.layer
    }

    fn run<'a>(&'a self, windows: &[Vec<u32>], tap: Option<&'a mut dyn Tap>) -> Result<Run<'a>> {
        self.run_for(windows, 0..usize::MAX, tap)
    }

    /// A run of which the last layer is for these positions alone.
    fn run_for<'a>(
        &'a self,
        windows: &[Vec<u32>],
        wanted: Range<usize>,
        tap: Option<&'a mut dyn Tap>,
    ) -> Result<Run<'a>> {
        let views: Vec<(&[u32], Range<usize>)> =
            windows.iter().map(|w| (w.as_slice(), wanted.clone())).collect();
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
        match self.through(&self.states, batch, Some(tap)) {
            Err(Error::Stopped) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn through<'a>(&'a self, states: &States, batch: usize, tap: Option<&'a mut dyn Tap>) -> Result<State> {
        let mut run = self.run(&self.batches[batch], tap)?;
        let mut hidden = states.get(batch)?.give(&mut run);
        if let Some(keeping) = &self.keeping {
            let results = &mut *keeping.results.borrow_mut();
            let kept = std::mem::take(&mut results.kept[batch]);
            results.room += kept.numbers();
            run.keeper = Some(Keeper::new(kept, &keeping.open, results.room));
        }
        let done = self.model.decoder.layers[self.layer].forward(&mut run, &mut hidden, false);
        if let (Some(keeping), Some(keeper)) = (&self.keeping, run.keeper.take()) {
            let results = &mut *keeping.results.borrow_mut();
            results.kept[batch] = keeper.into_kept();
            results.room -= results.kept[batch].numbers();
        }
        done?;
        Ok(State::take(&mut run, hidden))
    }

    /// Keeps what the parts of the next layer put out as batches go through it, in `bytes` of memory at most, so that
    /// a batch that comes by again ([`Staged::observe`], [`Staged::advance`]) is not computed again as far as it is
    /// known. What is observed is the same; parts that are known are not shown to the tap again. `open` are the
    /// tensors of the layer that will be replaced: what comes after one of them is kept only once it is.
    pub fn keep(&mut self, bytes: u64, open: HashSet<String>) {
        self.keeping = Some(Keeping {
            open,
            results: RefCell::new(Results {
                kept: self.batches.iter().map(|_| Kept::default()).collect(),
                room: usize::try_from(bytes / size_of::<f32>() as u64).unwrap_or(usize::MAX),
            }),
        });
    }

    /// Has these blocks stand in for a tensor's from now on.
    ///
    /// # Errors
    /// When the model has no such tensor, or the blocks are not as many as it needs.
    pub fn replace(&mut self, tensor: &str, ty: TensorType, blocks: Arc<[u8]>) -> Result<()> {
        let index = self.model.stands_in(tensor, ty, &blocks)?;
        self.replaced.insert(index, Other::Blocks(ty, blocks));
        // Nothing that is known depends on a tensor that was open.
        if self
            .keeping
            .as_mut()
            .is_some_and(|keeping| !keeping.open.remove(tensor))
        {
            self.keeping = None;
        }
        Ok(())
    }

    /// Takes all batches through the next layer, with all replacements so far, which are forgotten then.
    ///
    /// # Errors
    /// When weights cannot be read.
    pub fn advance(&mut self) -> Result<()> {
        let mut states = std::mem::replace(&mut self.states, States::new(None)?);
        let done = states.replace(self.batches.len(), |states, batch| {
            self.through(states, batch, None)
        });
        self.states = states;
        self.keeping = None;
        done?;
        self.layer += 1;
        self.replaced.clear();
        Ok(())
    }
}
