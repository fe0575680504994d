//! Attention of a decoder to what an encoder made of another text.

use crate::Result;
use crate::ops::{AttentionShape, Matrix, attend_across};
use crate::run::{Part, Run};

use super::{Input, Linear};

/// Queries of the rows, keys and values of the encoder's, all of which a query sees.
#[derive(Clone, Debug)]
pub(crate) struct CrossAttention {
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    pub(crate) shape: AttentionShape,
}

impl CrossAttention {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let mixed = run.once(Part::Input, &self.output.matrix.name, None, |run| {
            self.mixed(run, x)
        })?;
        let out = self.output.forward(run, &mixed)?;
        run.scratch.give(mixed);
        Ok(out)
    }

    /// Output of the heads for the rows.
    fn mixed(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let q = self.query.forward(run, x)?;
        let encoded = std::mem::take(&mut run.other.states);
        let mut input = Input::new(&encoded);
        let mut k = self.key.forward_input(run, &mut input)?;
        let mut v = self.value.forward_input(run, &mut input)?;
        run.other.states = encoded;
        // llama.cpp has no cache of these; its flash attention, the default, reads them in half precision.
        run.rounding.cached(&mut k);
        run.rounding.cached(&mut v);
        let mut mixed = run.scratch.take(x.rows, self.shape.heads * self.shape.value_len);
        let windows = [run.windows.as_slice(), run.other.rows.windows.as_slice()];
        attend_across(&q, &k, &v, &mut mixed, windows, &self.shape, run.products);
        for m in [q, k, v] {
            run.scratch.give(m);
        }
        Ok(mixed)
    }

    /// Intermediate results, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        self.shape.width()
    }
}
