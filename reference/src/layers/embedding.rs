//! Token embeddings.

use rayon::prelude::*;

use crate::Result;
use crate::ops::Matrix;
use crate::run::Run;
use crate::weights::BlockMatrix;

/// One row of weights for each token of the vocabulary.
#[derive(Clone, Debug)]
pub(crate) struct Embedding {
    pub(crate) matrix: BlockMatrix,
}

impl Embedding {
    /// The rows of the batch's tokens, each of which is below `matrix.outputs`.
    pub(crate) fn forward(&self, run: &mut Run<'_>) -> Result<Matrix> {
        let mut out = run.scratch.take(run.tokens.len(), self.matrix.inputs);
        let weights = run.weights();
        out.data
            .par_chunks_exact_mut(self.matrix.inputs)
            .zip(&run.tokens)
            .with_min_len(16)
            .try_for_each(|(row, &token)| self.matrix.decode(weights, token as usize, row))?;
        Ok(out)
    }

    /// Adds the row of its position to each row of `x`. Positions beyond the last row have none.
    pub(crate) fn add_positions(&self, run: &mut Run<'_>, x: &mut Matrix) -> Result<()> {
        let (weights, width) = (run.weights(), self.matrix.inputs);
        x.data
            .par_chunks_exact_mut(width)
            .zip(&run.positions)
            .with_min_len(16)
            .try_for_each_init(
                || vec![0.0; width],
                |row, (x, &position)| {
                    self.matrix.decode(weights, position, row)?;
                    x.iter_mut().zip(row.iter()).for_each(|(x, p)| *x += p);
                    Ok(())
                },
            )
    }
}
