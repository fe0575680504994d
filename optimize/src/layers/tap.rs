//! Collecting the second moments of one input.

use std::ops::Range;

use reference::Tap;

use super::groups::Group;
use crate::hessian::Moments;

/// Sums over the inputs of a group's tensors, matrix by matrix where they are stacks.
pub(super) struct Collector<'g> {
    group: &'g Group,
    columns: usize,
    matrices: Range<usize>,
    moments: Vec<Moments>,
    /// Over all matrices of a stack.
    pooled: Option<Moments>,
    seen: bool,
}

impl<'g> Collector<'g> {
    /// Collects for some of the matrices, and over all of a stack where that is wanted.
    pub(super) fn new(group: &'g Group, columns: usize, matrices: Range<usize>, pooled: bool) -> Self {
        Self {
            group,
            columns,
            moments: matrices.clone().map(|_| Moments::new(columns)).collect(),
            matrices,
            pooled: (pooled && group.experts).then(|| Moments::new(columns)),
            seen: false,
        }
    }

    /// Another batch begins.
    pub(super) fn begin(&mut self) {
        self.seen = false;
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
            self.moments[matrix - self.matrices.start].add(input);
        }
        if let Some(pooled) = &mut self.pooled {
            pooled.add(input);
        }
    }

    /// The only matrix has been used; of a stack, others may follow.
    fn is_done(&self) -> bool {
        self.seen && !self.group.experts
    }
}
