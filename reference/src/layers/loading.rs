//! Layers by the names of their tensors.

use super::{Embedding, ExpertLinear, Linear};
use crate::Result;
use crate::weights::Loader;

impl Loader<'_> {
    /// `{base}.weight` of shape [inputs, outputs], with `{base}.bias` and `{base}.scale` where the file has
    /// them.
    pub(crate) fn linear(&self, base: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let scale = self.optional_vector(&format!("{base}.scale"), 1)?;
        // By which others round the inputs of 4-bit weights; here they are not rounded.
        self.allowed(&format!("{base}.input_scale"), &[1])?;
        Ok(Linear {
            matrix: self.matrix(&format!("{base}.weight"), &[inputs, outputs])?,
            bias: self.optional_vector(&format!("{base}.bias"), outputs)?,
            scale: scale.map_or(1.0, |s| s[0]),
            adapters: Vec::new(),
        })
    }

    /// [`Self::linear`] without a bias, and without looking for scales, which may mean something else.
    pub(crate) fn plain_linear(&self, base: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        Ok(Linear {
            matrix: self.matrix(&format!("{base}.weight"), &[inputs, outputs])?,
            bias: None,
            scale: 1.0,
            adapters: Vec::new(),
        })
    }

    /// `{base}.weight` of shape [inputs, outputs, experts], with biases and scales for each expert where the
    /// file has them.
    pub(crate) fn experts(
        &self,
        base: &str,
        inputs: usize,
        outputs: usize,
        experts: usize,
    ) -> Result<ExpertLinear> {
        let bias = format!("{base}.bias");
        let bias = match self.has(&bias) {
            true => Some(self.table(&bias, outputs, experts)?),
            false => None,
        };
        self.allowed(&format!("{base}.input_scale"), &[experts])?;
        Ok(ExpertLinear {
            matrix: self.matrix(&format!("{base}.weight"), &[inputs, outputs, experts])?,
            bias,
            scales: self.optional_vector(&format!("{base}.scale"), experts)?,
        })
    }

    /// `token_embd.weight`, whose second dimension is the size of the vocabulary.
    pub(crate) fn embedding(&self, hidden: usize) -> Result<Embedding> {
        self.embedding_of("token_embd.weight", hidden)
    }

    /// A tensor with a row for each token of the vocabulary.
    pub(crate) fn embedding_of(&self, name: &str, hidden: usize) -> Result<Embedding> {
        let Some(info) = self.info(name) else {
            return Ok(Embedding {
                matrix: self.matrix(name, &[hidden, self.tokens()])?,
            });
        };
        let vocabulary = match info.shape[..] {
            [_, rows] => usize::try_from(rows).ok(),
            _ => None,
        };
        let vocabulary = vocabulary.ok_or_else(|| {
            self.error(format!(
                "tensor '{name}': expected shape [{hidden}, vocabulary], found {:?}",
                info.shape
            ))
        })?;
        Ok(Embedding {
            matrix: self.matrix(name, &[hidden, vocabulary])?,
        })
    }

    /// A stack of matrices under a name that is whole, without anything beside them.
    pub(crate) fn stack(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        count: usize,
    ) -> Result<ExpertLinear> {
        Ok(ExpertLinear {
            matrix: self.matrix(name, &[inputs, outputs, count])?,
            bias: None,
            scales: None,
        })
    }

    /// The matrix from hidden states to logits: `output.weight`, or the embedding where they are tied.
    pub(crate) fn head(&self, hidden: usize, vocabulary: usize) -> Result<Linear> {
        if self.has("output.weight") {
            return self.linear("output", hidden, vocabulary);
        }
        Ok(Linear {
            matrix: self.matrix("token_embd.weight", &[hidden, vocabulary])?,
            bias: self.optional_vector("output.bias", vocabulary)?,
            scale: 1.0,
            adapters: Vec::new(),
        })
    }

    /// `position_embd.weight`, one row for each position of the context; `None` when the file has none.
    pub(crate) fn positions(&self, hidden: usize) -> Result<Option<Embedding>> {
        let name = "position_embd.weight";
        let Some(info) = self.info(name) else {
            return Ok(None);
        };
        if self.is_declared() {
            // One for each position of the context.
            self.find(name, &[hidden, self.keys.count("context_length")?])?;
        }
        Ok(Some(Embedding {
            matrix: self.matrix(name, &[hidden, self.rows(info)?])?,
        }))
    }
}
