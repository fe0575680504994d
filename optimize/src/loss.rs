//! The level that learns from the loss of the whole model: the scales of learned blocks and the weights of norms, tuned.

mod moving;
mod states;
mod tensor;
mod tune;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use convert::plan::{OutputPlan, PlannedTensor};
use convert::source::Source;
use gguf::TensorType;
use reference::{Model, StandIn};

pub use self::tune::{Made, RATE, STEPS, TuneOptions, tune};
use crate::allocate::OnStep;
use crate::layers::ledger::{Entry, Filled};
use crate::layers::tensor::Job;
use crate::layers::{Blocks, LayerOptions, learned};
use crate::report::{Learned, Report, Tuned};
use crate::{Error, Result};

/// In the ledger, a tensor without blocks: what is said of tuning.
const OUTCOME: &str = "quantsmith.tuned";

/// How blocks are learned and tuned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LossOptions {
    /// How the blocks are learned that tuning begins with.
    pub layers: LayerOptions,
    /// Steps of gradient descent.
    pub steps: usize,
    /// Largest step of a number, as a share of it.
    pub rate: f32,
}

gguf::setters! {
    LossOptions {
        steps: usize,
        rate: f32,
    }
}

impl LossOptions {
    /// Learning as these options say, and tuning over the same windows.
    pub fn new(layers: LayerOptions) -> Self {
        Self {
            layers,
            steps: STEPS,
            rate: RATE,
        }
    }
}

/// Learns the blocks of a file's tensors as [`layers`](crate::layers) does, then tunes their scales and the weights of norms
/// ([`tune`]), and gives all of it to the file's plan.
///
/// # Errors
/// A model without a backward pass, before any work; and as [`layers`](crate::layers) and [`tune`].
pub fn loss(
    model: &Model,
    source: &dyn Source,
    outputs: &mut [OutputPlan<'_>],
    options: &LossOptions,
    on_step: OnStep<'_>,
) -> Result<Report> {
    check(model)?;
    let layers = &options.layers;
    let windows: Vec<&[u32]> = layers.windows.iter().map(Vec::as_slice).collect();
    let tensors = outputs.iter().flat_map(|output| output.tensors());
    let quantized = tensors.filter(|tensor| tensor.ty.is_quantized());
    let sizes = quantized.map(|tensor| (tensor.ty, tensor.size_bytes()));
    tune::spills(model, sizes, &windows, layers.max_memory)?;
    let mut blocks = learned(model, source, outputs, layers, &mut |done, of| {
        on_step("layers", done, of);
    })?;
    let entries = match blocks.further.take() {
        Some(entries) => entries,
        None => {
            let work = Work {
                model,
                source,
                planned: outputs
                    .iter()
                    .flat_map(|output| output.contents())
                    .map(|tensor| (tensor.name.as_str(), tensor))
                    .collect(),
                blocks: &blocks,
            };
            let made = work.tune(options, on_step)?;
            blocks.ledger.add(made)?
        }
    };
    blocks.report.tuned = entries.iter().find_map(outcome);
    blocks.entries.extend(entries);
    Ok(blocks.hand_over(outputs))
}

/// Whether a model can be tuned.
///
/// # Errors
/// A part of it has no backward pass.
pub(crate) fn check(model: &Model) -> Result<()> {
    match model.without_backward() {
        None => Ok(()),
        Some(part) => Err(Error::Request(format!(
            "{}: the backward pass does not know {part} of architecture {:?}, so scales cannot be tuned to its predictions",
            model
                .gguf()
                .files()
                .first()
                .map_or_else(Default::default, |file| file.path().display().to_string()),
            model.gguf().metadata().architecture()
        ))),
    }
}

struct Work<'a> {
    model: &'a Model,
    source: &'a dyn Source,
    planned: HashMap<&'a str, &'a PlannedTensor>,
    blocks: &'a Blocks,
}

impl Work<'_> {
    /// The tensors that tuning changes, and what is said of it.
    fn tune(&self, options: &LossOptions, on_step: OnStep<'_>) -> Result<Vec<Filled>> {
        let start = self.start()?;
        let before: HashMap<String, Arc<[u8]>> = start
            .iter()
            .map(|(name, _, blocks)| (name.clone(), Arc::clone(blocks)))
            .collect();
        let layers = &options.layers;
        let of_tuning = TuneOptions::new(layers.windows.clone(), &layers.folder)
            .max_memory(layers.max_memory)
            .steps(options.steps)
            .rate(options.rate);
        let numbers = |name: &str| self.numbers(name);
        let (tuned, blocks, vectors) = tune(self.model, start, &numbers, &of_tuning, on_step)?;
        let learned = |tensor: &str| Learned {
            tensor: tensor.to_owned(),
            ratios: None,
            kept: None,
            matrices: (1, 0),
        };
        let mut made = vec![(
            Learned {
                ratios: Some((tuned.before, tuned.after)),
                matrices: (tuned.steps, tuned.best),
                ..learned(OUTCOME)
            },
            TensorType::F32,
            Arc::from([]),
        )];
        if tuned.best == 0 {
            return Ok(made);
        }
        let changed = blocks
            .into_iter()
            .filter(|(name, _, blocks)| before.get(name) != Some(blocks));
        made.extend(changed.map(|(name, ty, blocks)| (learned(&name), ty, blocks)));
        let mut vectors: Vec<(String, Vec<f32>)> = vectors.into_iter().collect();
        vectors.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, numbers) in vectors {
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            made.push((learned(&name), TensorType::F32, Arc::from(bytes)));
        }
        Ok(made)
    }

    /// The blocks of all quantized tensors of the model: those learned, and stock's of the others.
    fn start(&self) -> Result<Vec<StandIn>> {
        let mut known = HashSet::new();
        let mut all = Vec::new();
        for entry in &self.blocks.entries {
            known.insert(entry.learned.tensor.as_str());
            let blocks = self.blocks.ledger.blocks(entry)?;
            all.push((entry.learned.tensor.clone(), entry.ty, blocks));
        }
        let mut others: Vec<&PlannedTensor> = self
            .planned
            .values()
            .copied()
            .filter(|tensor| {
                tensor.ty.is_quantized()
                    && tensor.ty != self.source.tensors()[tensor.source].ty
                    && !known.contains(tensor.name.as_str())
                    && self.model.gguf().find(&tensor.name).is_some()
            })
            .collect();
        others.sort_by(|a, b| a.name.cmp(&b.name));
        for tensor in others {
            let blocks = Job::new(self.source, tensor)?.stock()?;
            all.push((tensor.name.clone(), tensor.ty, Arc::from(blocks)));
        }
        Ok(all)
    }

    /// The numbers of a small tensor that the file has in f32.
    fn numbers(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.planned.get(name).filter(|t| t.ty == TensorType::F32) else {
            return Ok(None);
        };
        let shape = &self.source.tensors()[tensor.source].shape;
        let columns = shape.first().copied().unwrap_or(1).max(1);
        let elements = shape.iter().product::<u64>();
        let mut numbers = vec![0.0; usize::try_from(elements).unwrap_or(0)];
        self.source
            .read_rows(tensor.source, 0..elements / columns, &mut numbers)?;
        Ok(Some(numbers))
    }
}

/// The outcome of tuning in an entry of the ledger.
fn outcome(entry: &Entry) -> Option<Tuned> {
    let learned = &entry.learned;
    if learned.tensor != OUTCOME {
        return None;
    }
    let (before, after) = learned.ratios?;
    let (steps, best) = learned.matrices;
    Some(Tuned {
        before,
        after,
        steps,
        best,
    })
}
