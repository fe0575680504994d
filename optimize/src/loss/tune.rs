//! Gradient descent of blocks' scales and weights of norms.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use gguf::TensorType;
use quants::parts::factors;
use reference::portable::Strided;
use reference::{GradientTap, Model, StandIn, Teacher};

use super::moving::{Moving, Schedule};
use super::states::States;
use super::tensor::Tensor;
use crate::allocate::OnStep;
use crate::layers::HELD_OUT;
use crate::report::Tuned;
use crate::{Error, Result};

/// Times that the held-out windows judge.
const JUDGEMENTS: usize = 8;
/// Bytes of logits that exist at a time, and how often.
const LOGITS: (u64, u64) = (64 << 20, 5);

/// How scales are tuned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TuneOptions {
    /// Windows of the calibration text. The last eighth judges.
    pub windows: Vec<Vec<u32>>,
    /// Steps of gradient descent, of one window each.
    pub steps: usize,
    /// Largest step of a number, as a share of it.
    pub rate: f32,
    /// Bytes that all of it may take. Where the unquantized model's final states would take more than half of it, they go
    /// to a file.
    pub max_memory: u64,
    /// Folder for files that go with this run.
    pub folder: PathBuf,
}

gguf::setters! {
    TuneOptions {
        steps: usize,
        rate: f32,
        max_memory: u64,
    }
}

/// Steps of gradient descent where no other number is asked for.
pub const STEPS: usize = 200;
/// Largest step of a number, as a share of it.
pub const RATE: f32 = 3e-4;

impl TuneOptions {
    /// Tuning over these windows in as much memory as it takes, with temporary files in `folder`.
    pub fn new(windows: Vec<Vec<u32>>, folder: impl Into<PathBuf>) -> Self {
        Self {
            windows,
            steps: STEPS,
            rate: RATE,
            max_memory: u64::MAX,
            folder: folder.into(),
        }
    }
}

/// The result of tuning: the outcome, tensors with their blocks, and small tensors with their numbers.
pub type Made = (Tuned, Vec<StandIn>, HashMap<String, Vec<f32>>);

/// Tunes the scales of blocks, and the numbers of small tensors (weights of norms, biases), against the divergence of the
/// predictions from those of `model`, which is not quantized. `blocks` are those of all its quantized tensors; `numbers`
/// gives those of a small tensor as the file will have them, or nothing where they must stay. Levels and scales of
/// sub-blocks stay as they are.
///
/// # Errors
/// A model without a backward pass, too few windows, too little memory, and whatever keeps the model from running.
pub fn tune(
    model: &Model,
    blocks: Vec<StandIn>,
    numbers: &dyn Fn(&str) -> Result<Option<Vec<f32>>>,
    options: &TuneOptions,
    on_step: OnStep<'_>,
) -> Result<Made> {
    super::check(model)?;
    let windows = options.windows.len();
    let held_out = (windows / HELD_OUT).max(1);
    let teaching = windows.saturating_sub(held_out).min(options.steps);
    if teaching == 0 {
        return Err(Error::Request(format!(
            "expected at least two windows and a step to tune with, found {windows} and {}",
            options.steps
        )));
    }
    let used: Vec<&[u32]> = options.windows[..teaching]
        .iter()
        .chain(&options.windows[windows - held_out..])
        .map(Vec::as_slice)
        .collect();
    let tensors = blocks
        .into_iter()
        .map(|(name, ty, blocks)| {
            let index = model.gguf().find(&name);
            let columns = index.map_or(0, |index| model.gguf().info(index).row_len());
            Tensor::new(name, ty, blocks, usize::try_from(columns).unwrap_or(0))
        })
        .collect::<Vec<_>>();
    let sizes = tensors.iter().map(|t: &Tensor| (t.ty, t.blocks.len() as u64));
    let spills = spills(model, sizes, &used, options.max_memory)?;
    let folder = spills.then_some(options.folder.as_path());
    let states = States::of(model, &used, folder, |done| {
        on_step("predictions", done, used.len());
    })?;
    let mut work = Work {
        model,
        numbers,
        windows: used,
        teaching,
        states,
        tensors,
        vectors: BTreeMap::new(),
    };
    let tuned = work.run(options, on_step)?;
    let vectors = work
        .vectors
        .into_iter()
        .filter_map(|(name, moving)| Some((name, moving?.values().collect())));
    let blocks = work.tensors.into_iter().map(|t| (t.name, t.ty, t.blocks));
    Ok((tuned, blocks.collect(), vectors.collect()))
}

/// Whether the final states have to go to a file. `tensors` are types and bytes of those that are quantized.
///
/// # Errors
/// All of it does not fit the bound even then.
pub(super) fn spills(
    model: &Model,
    tensors: impl Iterator<Item = (TensorType, u64)>,
    windows: &[&[u32]],
    max_memory: u64,
) -> Result<bool> {
    let of = |count: usize| (count as u64).saturating_mul(size_of::<f32>() as u64);
    let tokens: usize = windows.iter().map(|w| w.len()).sum();
    let longest = windows.iter().map(|w| w.len()).max().unwrap_or(0);
    let columns = model.final_columns();
    let states = of(tokens.saturating_mul(columns));
    let (mut blocks, mut numbers) = (0u64, 0u64);
    for (ty, bytes) in tensors {
        blocks = blocks.saturating_add(bytes);
        numbers += bytes / ty.block_bytes() as u64 * factors(ty).len() as u64;
    }
    let logits = of(longest.saturating_mul(model.vocabulary())).min(LOGITS.0) * LOGITS.1;
    let inputs = of(model.layers().saturating_mul(columns));
    let run = (longest as u64)
        .saturating_mul(model.bytes_per_token().saturating_mul(2).saturating_add(inputs))
        .saturating_add(model.bytes_per_run());
    let needed = blocks
        .saturating_add(numbers.saturating_mul(Moving::BYTES))
        .saturating_add(logits)
        .saturating_add(run);
    if needed > max_memory {
        return Err(Error::Request(format!(
            "tuning {numbers} scales in {blocks} bytes of blocks needs about {needed} bytes of memory, more than the bound of \
             {max_memory}"
        )));
    }
    Ok(states > max_memory / 2 || states.saturating_add(needed) > max_memory)
}

struct Work<'a> {
    model: &'a Model,
    numbers: &'a dyn Fn(&str) -> Result<Option<Vec<f32>>>,
    /// To learn from, then to judge by.
    windows: Vec<&'a [u32]>,
    teaching: usize,
    states: States,
    tensors: Vec<Tensor>,
    /// Small tensors; `None` for those that stay.
    vectors: BTreeMap<String, Option<Moving>>,
}

impl Work<'_> {
    fn run(&mut self, options: &TuneOptions, on_step: OnStep<'_>) -> Result<Tuned> {
        let steps = options.steps;
        let before = self.judge()?;
        let (mut after, mut best) = (before, 0);
        let mut schedule = Schedule::new(options.rate, steps);
        let pause = steps.div_ceil(JUDGEMENTS);
        for step in 0..steps {
            on_step("steps", step, steps);
            self.learn(step % self.teaching)?;
            let taken = schedule.next();
            self.all(&mut |moving| moving.step(taken));
            self.tensors.iter_mut().for_each(Tensor::write);
            if (step + 1) % pause == 0 || step + 1 == steps {
                let found = self.judge()?;
                if found < after {
                    (after, best) = (found, step + 1);
                    self.all(&mut Moving::keep);
                } else {
                    // Where steps overshoot, smaller ones from the best state do not.
                    self.go_back();
                    schedule.slow_down();
                }
            }
        }
        on_step("steps", steps, steps);
        self.go_back();
        Ok(Tuned {
            before,
            after,
            steps,
            best,
        })
    }

    /// Goes back to the best state.
    fn go_back(&mut self) {
        self.all(&mut Moving::go_back);
        self.tensors.iter_mut().for_each(Tensor::write);
    }

    /// All numbers that move.
    fn all(&mut self, change: &mut dyn FnMut(&mut Moving)) {
        self.tensors.iter_mut().for_each(|t| change(&mut t.scales));
        self.vectors.values_mut().flatten().for_each(change);
    }

    /// The model as it is now.
    fn student(&self) -> Result<Model> {
        let blocks: Vec<StandIn> = self
            .tensors
            .iter()
            .map(|t| (t.name.clone(), t.ty, t.blocks.clone()))
            .collect();
        let vectors = self
            .vectors
            .iter()
            .filter_map(|(name, moving)| Some((name.clone(), moving.as_ref()?.values().collect())));
        Ok(self.model.standing_in(&blocks, &vectors.collect())?)
    }

    /// Adds the gradients of a window.
    fn learn(&mut self, window: usize) -> Result<()> {
        let student = self.student()?;
        let tokens = self.windows[window];
        let mut gradients = Gradients {
            share: 1.0 / tokens.len() as f32,
            tokens,
            places: self
                .tensors
                .iter()
                .enumerate()
                .map(|(index, t)| (t.name.clone(), index))
                .collect(),
            tensors: &mut self.tensors,
            vectors: BTreeMap::new(),
            failure: None,
        };
        let states = self.states.get(window)?;
        let teacher = Teacher {
            model: self.model,
            states: &states,
        };
        student.backward_from(tokens, teacher, &mut gradients)?;
        let Gradients {
            vectors,
            failure,
            share,
            ..
        } = gradients;
        if let Some((tensor, source)) = failure {
            return Err(Error::Codec { tensor, source });
        }
        for (name, gradient) in vectors {
            let vector = match self.vectors.entry(name) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => {
                    let start = (self.numbers)(new.key())?;
                    let start = start.filter(|start| start.len() == gradient.len());
                    new.insert(start.map(Moving::new))
                }
            };
            let Some(vector) = vector else { continue };
            let sums = vector.gradient.iter_mut().zip(&vector.start);
            for ((sum, start), g) in sums.zip(gradient) {
                *sum += (g * f64::from(share * start)) as f32;
            }
        }
        Ok(())
    }

    /// Mean divergence on the windows that judge.
    fn judge(&mut self) -> Result<f64> {
        let student = self.student()?;
        let (mut sum, mut count) = (0.0, 0);
        for window in self.teaching..self.windows.len() {
            let states = self.states.get(window)?;
            let teacher = Teacher {
                model: self.model,
                states: &states,
            };
            let found = student.divergences_from(self.windows[window], teacher)?;
            sum += found.iter().sum::<f64>();
            count += found.len();
        }
        Ok(sum / count.max(1) as f64)
    }
}

/// Gradients of one window.
struct Gradients<'w> {
    tokens: &'w [u32],
    /// Weight of the sum over tokens.
    share: f32,
    places: HashMap<String, usize>,
    tensors: &'w mut [Tensor],
    vectors: BTreeMap<String, Vec<f64>>,
    failure: Option<(String, quants::Error)>,
}

impl Gradients<'_> {
    fn note(&mut self, tensor: &str, done: Result<(), quants::Error>) {
        if let Err(error) = done {
            self.failure.get_or_insert_with(|| (tensor.to_owned(), error));
        }
    }
}

impl GradientTap for Gradients<'_> {
    fn linear(&mut self, _tensor: &str, _expert: Option<usize>, _gradient: &[f32], _outputs: usize) {}

    fn output(&mut self, _tensor: &str, _probabilities: &[f32], _vocabulary: usize, _labels: &[u32]) {}

    fn embedding(&mut self, tensor: &str, gradient: &[f32], _columns: usize) {
        if let Some(&place) = self.places.get(tensor) {
            let done = self.tensors[place].look_up(self.tokens, gradient, self.share);
            self.note(tensor, done);
        }
    }

    fn sees_weights(&self) -> bool {
        true
    }

    fn weights(&mut self, tensor: &str, expert: Option<usize>, input: Strided<'_>, gradient: Strided<'_>) {
        if let Some(&place) = self.places.get(tensor) {
            let first = expert.unwrap_or(0) * gradient.columns;
            let rows = first..first + gradient.columns;
            let done = self.tensors[place].add(rows, input, gradient, self.share);
            self.note(tensor, done);
        }
    }

    fn vector(&mut self, tensor: &str, gradient: &[f64]) {
        match self.vectors.get_mut(tensor) {
            None => {
                self.vectors.insert(tensor.to_owned(), gradient.to_vec());
            }
            Some(sums) => sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g),
        }
    }
}
