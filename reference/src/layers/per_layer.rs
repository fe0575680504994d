//! Vectors that each layer is given besides what comes from the layer before (Gemma 3n, Gemma 4).

use crate::Result;
use crate::ops::{Activation, Matrix, Norm, activate};
use crate::run::Run;

use super::latent::copy_head;
use super::{Embedding, Linear};

/// The vectors of all layers, from the tokens and from their embeddings.
#[derive(Clone, Debug)]
pub(crate) struct PerLayerInputs {
    /// All layers' vectors of a token.
    pub(crate) embedding: Embedding,
    /// From the model's own embedding.
    pub(crate) projection: Linear,
    /// Of each layer's vector.
    pub(crate) norm: Norm,
}

impl PerLayerInputs {
    /// Leaves the vectors in `run`; `x` are the embeddings.
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<()> {
        let own = self.embedding.forward(run)?;
        let mut made = self.projection.forward(run, x)?;
        made.scale(1.0 / (x.cols as f32).sqrt());
        self.norm.apply(&mut made);
        let scale = (self.norm.group as f32).sqrt();
        for (y, e) in made.data.iter_mut().zip(&own.data) {
            *y = (*y + e * scale) * std::f32::consts::FRAC_1_SQRT_2;
        }
        run.scratch.give(own);
        run.per_layer = Some(made);
        Ok(())
    }
}

/// A layer's use of its vector: `x += norm(up(gelu(gate(x)) * vector))`.
#[derive(Clone, Debug)]
pub(crate) struct PerLayer {
    /// The layer's number.
    pub(crate) layer: usize,
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) norm: Norm,
}

impl PerLayer {
    pub(crate) fn add_to(&self, run: &mut Run<'_>, x: &mut Matrix) -> Result<()> {
        let out = self.made(run, x)?;
        x.add(&out);
        run.scratch.give(out);
        Ok(())
    }

    /// The vector added.
    pub(crate) fn made(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let width = self.up.matrix.inputs;
        let mut inner = self.gate.forward(run, x)?;
        activate(Activation::Gelu, &mut inner.data);
        let mut given = run.scratch.take(x.rows, width);
        if let Some(all) = &run.per_layer {
            copy_head(all, self.layer * width, &mut given, 0, width);
        }
        for (y, v) in inner.data.iter_mut().zip(&given.data) {
            *y *= v;
        }
        let mut out = self.up.forward(run, &inner)?;
        self.norm.apply(&mut out);
        run.scratch.give(inner);
        run.scratch.give(given);
        Ok(out)
    }
}
