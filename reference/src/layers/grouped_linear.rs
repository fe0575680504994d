//! A linear layer for each group of columns, in one matrix.

use crate::Result;
use crate::ops::Matrix;
use crate::run::{Part, Run};

use super::Linear;
use super::latent::copy_head;

/// Groups of columns, each of which goes through rows of its own of one matrix.
#[derive(Clone, Debug)]
pub(crate) struct GroupedLinear {
    /// From one group to the outputs of all, group after group.
    pub(crate) linear: Linear,
    pub(crate) groups: usize,
}

impl GroupedLinear {
    /// The outputs of all groups of every row. The tap sees each group as a row: a file has one importance for the
    /// columns of the matrix, whatever the group.
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let matrix = &self.linear.matrix;
        let (inputs, outputs) = (matrix.inputs, matrix.outputs / self.groups);
        let mut rows = run.scratch.take(x.rows * self.groups, inputs);
        rows.data.copy_from_slice(&x.data);
        run.tap(&matrix.name, None, &rows)?;
        run.scratch.give(rows);
        run.once(Part::Output, &matrix.name, None, |run| {
            let mut out = run.scratch.take(x.rows, matrix.outputs);
            for group in 0..self.groups {
                let mut mine = run.scratch.take(x.rows, inputs);
                copy_head(x, group * inputs, &mut mine, 0, inputs);
                let first = group * outputs;
                let made = self.linear.forward_range(run, &mine, first..first + outputs)?;
                copy_head(&made, 0, &mut out, first, outputs);
                run.scratch.give(mine);
                run.scratch.give(made);
            }
            Ok(out)
        })
    }
}
