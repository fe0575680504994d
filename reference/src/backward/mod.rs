//! The backward pass: gradients of the loss with respect to what every linear layer puts out.
//!
//! Weights have no gradients here, for nothing is trained: what counts is how much a change of a layer's output changes
//! the model's predictions. Each layer is run again from its input, which is kept, and then gone through backwards.
//! Products are portable ([`crate::portable`]): the same bits on every machine, for any number of threads.

mod attention;
mod feed_forward;
mod head;
mod layer;
mod linear;
mod mixture;
mod norm;

use gguf::{Metadata, TensorInfo};

use crate::model::{Decoder, Makes, Streams, build};
use crate::ops::{Matrix, Products, Rounding};
use crate::portable::Strided;
use crate::run::Run;
use crate::weights::{Declared, Loader};
use crate::{Error, Model, Result};

/// Sees gradients as they are computed, from the last layer to the first.
pub trait GradientTap {
    /// The loss's gradient with respect to what a linear layer puts out, without its bias and the scale of its
    /// weights: rows of `outputs` numbers, one for each token that goes through the layer, in the order of
    /// [`crate::Tap::linear`].
    fn linear(&mut self, tensor: &str, expert: Option<usize>, gradient: &[f32], outputs: usize);

    /// Predictions at some positions, in their order: rows of probabilities, and the tokens that the loss is of. The
    /// gradient with respect to the logits is their difference.
    fn output(&mut self, tensor: &str, probabilities: &[f32], vocabulary: usize, labels: &[u32]);

    /// The gradient with respect to the rows that are looked up in the token embeddings.
    fn embedding(&mut self, tensor: &str, gradient: &[f32], columns: usize);

    /// Whether [`Self::weights`] and [`Self::vector`] are to be called.
    fn sees_weights(&self) -> bool {
        false
    }

    /// The input of a linear layer (tokens x columns), and the gradient with respect to its output (tokens x
    /// outputs), as [`Self::linear`] has it: their products, added up over tokens, are the gradient with respect to the
    /// weights. Of the output matrix, it is called once for each stretch of positions.
    fn weights(&mut self, tensor: &str, expert: Option<usize>, input: Strided<'_>, gradient: Strided<'_>) {
        let _ = (tensor, expert, input, gradient);
    }

    /// The gradient with respect to the numbers of a small tensor: weights of a norm, or a bias. Once for each use.
    fn vector(&mut self, tensor: &str, gradient: &[f64]) {
        let _ = (tensor, gradient);
    }
}

/// The tokens whose negative log probabilities, added up, are the loss.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Labels<'a> {
    /// One for each position.
    Given(&'a [u32]),
    /// Drawn from the model's own predictions: the expected squares of gradients then say how much predictions change
    /// (the diagonal of the Fisher information). Numbers and with them labels depend on the seed and the position
    /// alone.
    Sampled(u64),
}

/// A model whose predictions are the measure of another's.
#[derive(Clone, Copy, Debug)]
pub struct Teacher<'a> {
    /// The model, of which only the output matrix is used.
    pub model: &'a Model,
    /// The states of the window ([`Model::final_states`]).
    pub states: &'a [f32],
}

/// The loss.
enum Goal<'a> {
    /// The negative log probabilities of labels.
    Labels(Labels<'a>),
    /// The divergences from a teacher's predictions.
    Teacher(Box<Taught<'a>>),
}

/// A teacher at work.
struct Taught<'a> {
    run: Run<'a>,
    teacher: Teacher<'a>,
    /// The divergence at each position so far, in nats.
    divergences: Vec<f64>,
}

/// Receiver of gradients on the way, and the run that is gone through.
pub(crate) struct Pass<'p, 'a> {
    pub(crate) run: Run<'a>,
    pub(crate) tap: &'p mut dyn GradientTap,
}

/// The part that the backward pass does not know of a model of which only keys and tensors are declared. Nothing is said of
/// a model that has no graph, or of which too much is missing to know.
pub fn without_backward<'a>(
    metadata: &'a Metadata,
    tensors: impl IntoIterator<Item = &'a TensorInfo>,
) -> Option<String> {
    let declared = Declared::new(metadata, tensors);
    let decoder = build(metadata.architecture(), &Loader::declared(&declared))?.ok()?;
    decoder.without_backward()
}

impl Model {
    /// The part of the model that the backward pass does not know, if there is one.
    pub fn without_backward(&self) -> Option<String> {
        self.decoder().without_backward()
    }

    /// Runs one window forward and backward.
    ///
    /// # Errors
    /// When the model has a part that the backward pass does not know, the window is empty, a token or label is
    /// outside the vocabulary, labels are not as many as tokens, numbers are not finite, or weights cannot be read.
    pub fn backward(&self, window: &[u32], labels: Labels<'_>, tap: &mut dyn GradientTap) -> Result<()> {
        if let Labels::Given(labels) = labels {
            if labels.len() != window.len() {
                return Err(self.error(format!(
                    "expected {} labels, found {}",
                    window.len(),
                    labels.len()
                )));
            }
            if let Some(label) = labels.iter().find(|&&l| l as usize >= self.vocabulary()) {
                return Err(self.error(format!(
                    "expected labels below the vocabulary's {}, found {label}",
                    self.vocabulary()
                )));
            }
        }
        self.through(window, &mut Goal::Labels(labels), tap)
    }

    /// Runs one window forward and backward from the divergences of its predictions from a teacher's, added up over
    /// positions, and returns them, in nats. [`GradientTap::output`] is not called.
    ///
    /// # Errors
    /// As [`Self::backward`]; also when the teacher's states are not one row for each token, or its vocabulary is
    /// another.
    pub fn backward_from(
        &self,
        window: &[u32],
        teacher: Teacher<'_>,
        tap: &mut dyn GradientTap,
    ) -> Result<Vec<f64>> {
        let mut goal = Goal::Teacher(Box::new(self.taught(window, teacher)?));
        self.through(window, &mut goal, tap)?;
        match goal {
            Goal::Teacher(taught) => Ok(taught.divergences),
            Goal::Labels(_) => Ok(Vec::new()),
        }
    }

    /// The divergence of the predictions at each position of a window from a teacher's, in nats. The bits are the
    /// same on every machine, but for those of the logarithms.
    ///
    /// # Errors
    /// As [`Self::backward_from`], but for parts without a backward pass.
    pub fn divergences_from(&self, window: &[u32], teacher: Teacher<'_>) -> Result<Vec<f64>> {
        let mut taught = self.taught(window, teacher)?;
        let mut run = self.portable(window)?;
        let states = self.last_states(&mut run)?;
        head::divergences(self.decoder(), &mut run, &states, &mut taught, self.vocabulary())?;
        Ok(taught.divergences)
    }

    /// The normalized final states of all positions of a window, of which the output matrix makes predictions: rows of
    /// as many numbers as the embeddings have columns. Products are portable ([`crate::portable`]).
    ///
    /// # Errors
    /// When a token is outside the vocabulary, or weights cannot be read.
    pub fn final_states(&self, window: &[u32]) -> Result<Vec<f32>> {
        let mut run = self.portable(window)?;
        Ok(self.last_states(&mut run)?.data)
    }

    fn last_states<'a>(&'a self, run: &mut Run<'a>) -> Result<Matrix> {
        let decoder = self.decoder();
        let mut x = decoder.embed(run)?;
        for layer in &decoder.layers {
            layer.forward(run, &mut x, false)?;
        }
        decoder.finish(run, x)
    }

    /// A run of a window whose results are the same on every machine.
    fn portable(&self, window: &[u32]) -> Result<Run<'_>> {
        let mut run = self.begin(&[(window, 0..usize::MAX)], None)?;
        run.products = Products::Portable;
        run.rounding = Rounding::None;
        Ok(run)
    }

    fn taught<'a>(&self, window: &[u32], teacher: Teacher<'a>) -> Result<Taught<'a>> {
        let expected = window.len() * teacher.model.decoder().head.matrix.inputs;
        if teacher.states.len() != expected {
            return Err(self.error(format!(
                "a teacher's states: expected {expected} numbers, found {}",
                teacher.states.len()
            )));
        }
        if teacher.model.vocabulary() != self.vocabulary() {
            return Err(self.error(format!(
                "a teacher's vocabulary: expected {} tokens, found {}",
                self.vocabulary(),
                teacher.model.vocabulary()
            )));
        }
        Ok(Taught {
            run: teacher.model.portable(window)?,
            teacher,
            divergences: Vec::with_capacity(window.len()),
        })
    }

    fn through(&self, window: &[u32], goal: &mut Goal<'_>, tap: &mut dyn GradientTap) -> Result<()> {
        if let Some(part) = self.without_backward() {
            return Err(self.error(format!("the backward pass does not know {part}")));
        }
        if window.is_empty() {
            return Err(self.error("a window without tokens has no gradient".to_owned()));
        }
        let decoder = self.decoder();
        let mut run = self.portable(window)?;
        let (inputs, last) = forward(decoder, &mut run)?;
        let mut pass = Pass { run, tap };
        let mut gradient = pass.head(decoder, &last, goal, self.vocabulary())?;
        for (layer, input) in decoder.layers.iter().zip(inputs).rev() {
            gradient = pass.layer(layer, &input, &gradient)?;
            pass.run.scratch.give(input);
        }
        if gradient.data.iter().any(|x| !x.is_finite()) {
            return Err(self.error("gradients are not finite".to_owned()));
        }
        if let Some(norm) = &decoder.embedding_norm {
            let mut before = decoder.embedding.forward(&mut pass.run)?;
            before.scale(decoder.embedding_scale);
            if let Some(positions) = &decoder.positions {
                positions.add_positions(&mut pass.run, &mut before)?;
            }
            gradient = pass.norm(norm, &before, &gradient);
        }
        gradient.scale(decoder.embedding_scale);
        let name = &decoder.embedding.matrix.name;
        pass.tap.embedding(name, &gradient.data, gradient.cols);
        Ok(())
    }
}

/// The inputs of all layers, and what leaves the last one.
fn forward(decoder: &Decoder, run: &mut Run<'_>) -> Result<(Vec<Matrix>, Matrix)> {
    let mut x = decoder.embed(run)?;
    let mut inputs = Vec::with_capacity(decoder.layers.len());
    for layer in &decoder.layers {
        inputs.push(x.clone());
        layer.forward(run, &mut x, false)?;
    }
    Ok((inputs, x))
}

impl Decoder {
    /// A part that the backward pass does not know.
    fn without_backward(&self) -> Option<String> {
        if self.per_layer.is_some() || !matches!(self.streams, Streams::None) {
            return Some("further inputs of layers".to_owned());
        }
        if self.makes != Makes::Predictions {
            return Some("a model without predictions".to_owned());
        }
        if self.first_predicted() > 0 {
            return Some("predictions of a part of the vocabulary".to_owned());
        }
        if self.switch.is_some() {
            return Some("adapters that tokens turn on".to_owned());
        }
        if !self.embedding_shift.is_empty() {
            return Some("shifted embeddings".to_owned());
        }
        self.layers
            .iter()
            .enumerate()
            .find_map(|(index, layer)| Some(format!("{} (layer {index})", layer.without_backward()?)))
    }
}

/// An error of the pass itself.
fn unknown(part: &str) -> Error {
    Error::Text(format!("the backward pass does not know {part}"))
}
