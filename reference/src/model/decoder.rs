//! The decoder-only transformer that most architectures are a variant of.

use crate::Result;
use crate::layers::{Attention, Embedding, FeedForward, Linear, Mixture};
use crate::ops::{Matrix, Norm};

use super::Run;

/// Embedding, layers, final norm and the matrix to logits.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) embedding: Embedding,
    /// Factor on the embeddings.
    pub(crate) embedding_scale: f32,
    pub(crate) layers: Vec<Layer>,
    pub(crate) output_norm: Norm,
    pub(crate) head: Linear,
    /// `cap * tanh(logit / cap)`.
    pub(crate) logit_softcap: Option<f32>,
}

/// `x += attention(norm(x)); x += mlp(norm(x))`, with norms of what is added where an architecture has them.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Norm,
    pub(crate) attention: Attention,
    pub(crate) attention_post_norm: Option<Norm>,
    pub(crate) mlp_norm: Norm,
    pub(crate) mlp: Mlp,
    pub(crate) mlp_post_norm: Option<Norm>,
}

/// The second half of a layer.
#[derive(Debug)]
pub(crate) enum Mlp {
    Dense(Box<FeedForward>),
    Mixture(Box<Mixture>),
}

impl Mlp {
    fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        match self {
            Self::Dense(layer) => layer.forward(run, x),
            Self::Mixture(layer) => layer.forward(run, x),
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Dense(layer) => layer.width(),
            Self::Mixture(layer) => layer.width(),
        }
    }
}

impl Decoder {
    /// The normalized final states of the wanted rows.
    pub(crate) fn forward(&self, run: &mut Run<'_>) -> Result<Matrix> {
        let mut x = self.embedding.forward(run)?;
        x.scale(self.embedding_scale);
        for (index, layer) in self.layers.iter().enumerate() {
            let mut attended = {
                let normed = normalized(run, &layer.attention_norm, &x);
                let out = layer.attention.forward(run, &normed)?;
                run.scratch.give(normed);
                out
            };
            if index + 1 == self.layers.len() && run.wanted.len() < x.rows {
                // From here on rows do not see each other.
                attended.keep_rows(&run.wanted);
                x.keep_rows(&run.wanted);
            }
            if let Some(norm) = &layer.attention_post_norm {
                norm.apply(&mut attended);
            }
            x.add(&attended);
            run.scratch.give(attended);
            let normed = normalized(run, &layer.mlp_norm, &x);
            let mut out = layer.mlp.forward(run, &normed)?;
            run.scratch.give(normed);
            if let Some(norm) = &layer.mlp_post_norm {
                norm.apply(&mut out);
            }
            x.add(&out);
            run.scratch.give(out);
        }
        self.output_norm.apply(&mut x);
        Ok(x)
    }

    /// What happens to logits after the matrix.
    pub(crate) fn finish_logits(&self, logits: &mut [f32]) {
        if let Some(cap) = self.logit_softcap {
            for x in logits {
                *x = cap * (*x / cap).tanh();
            }
        }
    }

    /// Most intermediate results that exist at a time, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        let widest = self
            .layers
            .iter()
            .map(|l| l.attention.width().max(l.mlp.width()))
            .max();
        self.embedding.matrix.inputs * 4 + widest.unwrap_or(0)
    }
}

fn normalized(run: &mut Run<'_>, norm: &Norm, x: &Matrix) -> Matrix {
    let mut out = run.scratch.take(x.rows, x.cols);
    out.copy_from(x);
    norm.apply(&mut out);
    out
}
