//! Results of a layer that a staged pass keeps, so that a batch that comes by again is not computed again.

use std::collections::HashSet;

use super::Run;
use crate::Result;
use crate::ops::Matrix;

/// A part of a layer, named after a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its output.
    Output,
    /// Its input, with all that leads there from the inputs of the layers before it.
    Input,
}

/// The result of a part.
struct Made {
    part: Part,
    tensor: String,
    expert: Option<usize>,
    matrix: Matrix,
}

/// The results of a layer's parts for one batch, in the order in which they are made: from the first on, without a
/// gap.
#[derive(Default)]
pub(crate) struct Kept {
    results: Vec<Made>,
}

impl Kept {
    /// Numbers that the results hold.
    pub(crate) fn numbers(&self) -> usize {
        self.results.iter().map(|result| result.matrix.data.len()).sum()
    }
}

/// Results that a run keeps, and those that it has from runs before it.
pub(crate) struct Keeper<'a> {
    kept: Kept,
    /// Where in the results the run is.
    next: usize,
    /// Tensors that are to be replaced yet. What comes after them is not kept.
    open: &'a HashSet<String>,
    closed: bool,
    /// Numbers that may be kept besides.
    room: usize,
}

impl<'a> Keeper<'a> {
    /// `room` are the numbers that may be kept in all.
    pub(crate) fn new(kept: Kept, open: &'a HashSet<String>, room: usize) -> Self {
        Self {
            next: 0,
            open,
            closed: false,
            room: room.saturating_sub(kept.numbers()),
            kept,
        }
    }

    pub(crate) fn into_kept(self) -> Kept {
        self.kept
    }

    /// The result of the part that comes next, if it is known.
    fn known(&mut self, part: Part, tensor: &str, expert: Option<usize>) -> Option<&Matrix> {
        let result = self.kept.results.get(self.next)?;
        if result.part != part || result.expert != expert || result.tensor != tensor {
            return None;
        }
        self.next += 1;
        Some(&result.matrix)
    }

    /// Keeps the result of a part that began when `first` results had been passed: it stands for all since then.
    fn keep(&mut self, first: usize, part: Part, tensor: &str, expert: Option<usize>, made: &Matrix) {
        if self.closed {
            return;
        }
        self.room += self
            .kept
            .results
            .drain(first..)
            .map(|result| result.matrix.data.len())
            .sum::<usize>();
        let Some(room) = self.room.checked_sub(made.data.len()) else {
            self.closed = true;
            return;
        };
        self.room = room;
        self.kept.results.push(Made {
            part,
            tensor: tensor.to_owned(),
            expert,
            matrix: made.clone(),
        });
        self.next = self.kept.results.len();
    }
}

impl Run<'_> {
    /// The result of a part of the layer: what `make` makes, or what it made when the same batch was here before.
    ///
    /// `make` must not change anything but the matrix that it returns.
    pub(crate) fn once(
        &mut self,
        part: Part,
        tensor: &str,
        expert: Option<usize>,
        make: impl FnOnce(&mut Self) -> Result<Matrix>,
    ) -> Result<Matrix> {
        let Some(keeper) = &mut self.keeper else {
            return make(self);
        };
        if part == Part::Output && keeper.open.contains(tensor) {
            keeper.closed = true;
        }
        let first = keeper.next;
        if let Some(known) = keeper.known(part, tensor, expert) {
            let mut made = self.scratch.take(known.rows, known.cols);
            made.copy_from(known);
            return Ok(made);
        }
        let made = make(self)?;
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(first, part, tensor, expert, &made);
        }
        Ok(made)
    }
}
