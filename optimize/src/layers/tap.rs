//! Collecting the second moments of one input.

use std::ops::Range;

use reference::{Staged, Tap};

use super::groups::Group;
use crate::Result;
use crate::moments::{Exact, Moments, Purpose};

/// Sums over the inputs of a group's tensors, matrix by matrix where they are stacks.
pub(super) struct Collector<'g> {
    group: &'g Group,
    columns: usize,
    matrices: Range<usize>,
    moments: Vec<Moments>,
    /// Over all matrices of a stack.
    pooled: Option<Moments>,
    /// The unquantized model's side of this batch, where it is known.
    exact: Option<Input<'g>>,
    /// Lacks of the state that outputs are added to.
    lack: Option<Vec<f32>>,
    seen: bool,
}

impl<'g> Collector<'g> {
    /// Collects for some of the matrices, and over all of a stack where that is wanted.
    pub(super) fn new(
        group: &'g Group,
        columns: usize,
        matrices: Range<usize>,
        pooled: bool,
        purpose: Purpose,
    ) -> Self {
        Self {
            group,
            columns,
            moments: matrices.clone().map(|_| Moments::new(columns, purpose)).collect(),
            matrices,
            pooled: (pooled && group.experts).then(|| Moments::new(columns, purpose)),
            exact: None,
            lack: None,
            seen: false,
        }
    }

    /// Collects from batches of a pass, which `observe` shows: a group's input, and beside it the same one of the
    /// unquantized model, where its pass is given.
    pub(super) fn fill<'m>(
        mut self,
        batches: Range<usize>,
        (pass, exact): (&Staged<'m>, Option<&Staged<'m>>),
        observe: impl Fn(&Staged<'m>, usize, &mut dyn Tap) -> reference::Result<()>,
    ) -> Result<Self> {
        for batch in batches {
            self.exact = exact
                .map(|exact| {
                    let mut input = Input::new(&self.group.tensors);
                    observe(exact, batch, &mut input).map(|()| input)
                })
                .transpose()?;
            self.lack = None;
            self.seen = false;
            observe(pass, batch, &mut self)?;
        }
        Ok(self)
    }

    /// The moments of the matrices, and those over all of them.
    pub(super) fn into_moments(self) -> (Vec<Moments>, Option<Moments>) {
        (self.moments, self.pooled)
    }
}

impl Tap for Collector<'_> {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, input: &[f32], columns: usize) {
        if self.group.tensors.first().is_none_or(|first| first != tensor) || columns != self.columns {
            return;
        }
        self.seen = true;
        let matrix = expert.unwrap_or(0);
        if self.matrices.contains(&matrix) {
            let exact = self.exact.as_ref().and_then(|exact| exact.rows.as_deref());
            let exact = exact.map(|rows| Exact {
                rows,
                lack: self.lack.as_deref(),
            });
            self.moments[matrix - self.matrices.start].add(input, exact);
        }
        if let Some(pooled) = &mut self.pooled {
            pooled.add(input, None);
        }
    }

    fn added_to(&mut self, tensor: &str, state: &[f32], scale: f32) {
        let exact = self.exact.as_ref().and_then(|exact| exact.state.as_ref());
        if let (Some(exact), true) = (exact, is_alone(&self.group.tensors, tensor)) {
            let both = exact.iter().zip(state);
            self.lack = Some(both.map(|(exact, here)| (exact - here) / scale).collect());
        }
    }

    /// The only matrix has been used; of a stack, others may follow.
    fn is_done(&self) -> bool {
        self.seen && !self.group.experts
    }
}

/// Whether `tensor` is the only one of its group: then what its output is added to is the group's matter.
fn is_alone(tensors: &[String], tensor: &str) -> bool {
    matches!(tensors, [only] if only == tensor)
}

/// The input of the first of a group's tensors as it is, and the state that the output of the only one is added to.
struct Input<'g> {
    tensors: &'g [String],
    rows: Option<Vec<f32>>,
    state: Option<Vec<f32>>,
}

impl<'g> Input<'g> {
    fn new(tensors: &'g [String]) -> Self {
        Self {
            tensors,
            rows: None,
            state: None,
        }
    }
}

impl Tap for Input<'_> {
    fn linear(&mut self, tensor: &str, _expert: Option<usize>, input: &[f32], _columns: usize) {
        if self.tensors.first().is_some_and(|first| first == tensor) {
            self.rows.get_or_insert_with(|| input.to_vec());
        }
    }

    fn added_to(&mut self, tensor: &str, state: &[f32], _scale: f32) {
        if is_alone(self.tensors, tensor) {
            self.state = Some(state.to_vec());
        }
    }

    fn is_done(&self) -> bool {
        self.rows.is_some()
    }
}
