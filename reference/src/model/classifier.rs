//! Heads of classifiers and rerankers: scores of labels for a text, made of its final states.

use super::{Model, Pooling};
use crate::Result;
use crate::layers::Linear;
use crate::ops::{Activation, Matrix, Norm, NormKind, activate};
use crate::run::Run;
use crate::weights::{ANY, Loader};

/// `output(norm(activation(dense(state))))`, as far as a file has these parts.
#[derive(Debug)]
pub(crate) struct Classifier {
    /// State that is classified.
    pooling: Pooling,
    dense: Option<Linear>,
    /// Of what the dense part makes: this, or the hyperbolic tangent.
    activation: Option<Activation>,
    norm: Option<Norm>,
    output: Option<Linear>,
}

/// The pooling of ModernBERT's classifiers where the file does not say: as llama.cpp has it.
const MEAN: usize = 1;

impl Classifier {
    /// The head of an encoder's file, if it has one.
    pub(super) fn read(loader: &Loader<'_>, hidden: usize) -> Result<Option<Box<Self>>> {
        let modern = loader.keys.architecture() == "modern-bert";
        for (name, columns) in [("cls", hidden), ("cls.output", ANY)] {
            loader.allowed(&format!("{name}.weight"), &[hidden, columns])?;
            loader.allowed(&format!("{name}.bias"), &[columns])?;
        }
        if modern {
            loader.allowed("cls.norm.weight", &[hidden])?;
        }
        let has = |name: &str| loader.has(&format!("{name}.weight"));
        if loader.is_declared() || !has("cls") && !has("cls.output") {
            return Ok(None);
        }
        let linear = |name: &str| -> Result<Option<Linear>> {
            let found = has(name).then(|| loader.linear(name, hidden, loader.outputs_of(name)?));
            found.transpose()
        };
        let pooling = match modern {
            true => loader
                .keys
                .optional_count("classifier.pooling_type")?
                .unwrap_or(MEAN),
            false => 0,
        };
        let norm = match modern && has("cls.norm") {
            true => {
                let eps = loader.keys.float("attention.layer_norm_epsilon")?;
                Some(loader.norm(NormKind::Layer, "cls.norm", hidden, eps)?)
            }
            false => None,
        };
        Ok(Some(Box::new(Self {
            pooling: if pooling == MEAN {
                Pooling::Mean
            } else {
                Pooling::First
            },
            dense: linear("cls")?,
            activation: modern.then_some(Activation::GeluErf),
            norm,
            output: linear("cls.output")?,
        })))
    }

    /// Scores of rows of pooled states.
    fn forward(&self, run: &mut Run<'_>, mut x: Matrix) -> Result<Matrix> {
        if let Some(dense) = &self.dense {
            x = dense.forward(run, &x)?;
            match self.activation {
                Some(activation) => activate(activation, &mut x.data),
                None => x.data.iter_mut().for_each(|x| *x = x.tanh()),
            }
            if let Some(norm) = &self.norm {
                norm.apply(&mut x);
            }
        }
        match &self.output {
            Some(output) => output.forward(run, &x),
            None => Ok(x),
        }
    }
}

impl Model {
    /// Scores of the labels of a classifier for each window, as its head makes them (`classifier.output_labels` has their names): of
    /// a reranker one for a text of a query and a document, as it was trained on.
    ///
    /// # Errors
    /// As [`Self::embed`]; also when the file has no head of a classifier.
    pub fn classify(&self, windows: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let Some(classifier) = &self.decoder().classifier else {
            return Err(self.error(
                "scores of labels: expected the head of a classifier (cls.weight, cls.output.weight) of an encoder, found none"
                    .to_owned(),
            ));
        };
        let (mut run, pooled) = self.pooled(windows, classifier.pooling)?;
        let scores = classifier.forward(&mut run, pooled)?;
        let rows = scores.data.chunks_exact(scores.cols.max(1));
        Ok(rows.map(<[f32]>::to_vec).collect())
    }
}
