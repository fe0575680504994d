//! Token embeddings.

use rayon::prelude::*;

use crate::Result;
use crate::model::Run;
use crate::ops::Matrix;
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
        let gguf = run.gguf;
        out.data
            .par_chunks_exact_mut(self.matrix.inputs)
            .zip(&run.tokens)
            .with_min_len(16)
            .try_for_each(|(row, &token)| self.matrix.decode(gguf, token as usize, row))?;
        Ok(out)
    }
}
