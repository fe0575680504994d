//! Collecting importance: the model runs over a text, and the squared inputs of its linear layers are summed.
//!
//! A text is token ids, from wherever they come; windows are cut from them in their order. Several texts are joined, or each is
//! encoded and the ids are: the first with `add_special`, the others without.
//!
//! ```no_run
//! use std::path::Path;
//! use imatrix::Accumulator;
//! use quantsmith_reference::calibration::{Calibration, collect};
//! use quantsmith_reference::{Error, Model, Tokenizer};
//!
//! # fn texts() -> Vec<String> { Vec::new() }
//! let model = Model::load(Path::new("model-F16.gguf"))?;
//! let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
//! let tokens = tokenizer.encode(texts().join("\n"), true, false);
//! let calibration = Calibration::new(512).bos(tokenizer.bos().filter(|_| tokenizer.add_bos()));
//! let mut sums = Accumulator::new(512);
//! collect(&model, &tokens, &calibration, &mut sums, 0, &mut |step| {
//!     eprintln!("{} of {}", step.done, step.of);
//!     Ok::<_, Error>(())      // an error, of whatever type takes this one, ends the run
//! })?;
//! let mut matrix = sums.totals().clone();
//! matrix.datasets = vec!["my texts".to_owned()];
//! matrix.save(Path::new("imatrix.gguf"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To quantize with it, `quantsmith-convert` makes an `importance::Importance` of the matrix, or of its file, which
//! `quantize::plan` takes.

use std::collections::HashMap;
use std::ops::Range;

use imatrix::Accumulator;

use crate::{Error, Model, Result, Tap};

/// Tokens run together at least, where windows are shorter. Part of the definition of the result, for sums
/// are rounded after each step: it depends on nothing but the window.
const STEP_TOKENS: usize = 2048;

/// Extent of a collection. [`Calibration::new`] collects all of a text; the other
/// setters narrow it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Calibration {
    /// Tokens in a window.
    pub context: usize,
    /// Windows to leave out at the beginning.
    pub from_chunk: usize,
    /// Windows to run at most; all when `None`.
    pub chunks: Option<usize>,
    /// Replacement of each window's first token: the tokenizer's beginning-of-sequence token where it adds one.
    pub bos: Option<u32>,
    /// Collect for `output.weight` too.
    pub process_output: bool,
}

gguf::setters! {
    Calibration {
        context: usize,
        from_chunk: usize,
        chunks: Option<usize>,
        bos: Option<u32>,
        process_output: bool,
    }
}

impl Calibration {
    /// All windows of this many tokens, for every matrix but the output's.
    pub fn new(context: usize) -> Self {
        Self {
            context,
            from_chunk: 0,
            chunks: None,
            bos: None,
            process_output: false,
        }
    }

    /// The tokens that are run, checked to give windows.
    ///
    /// # Errors
    /// Windows of no tokens, and fewer than two of them ([`Error::Text`]).
    pub fn text<'a>(&self, tokens: &'a [u32]) -> Result<&'a [u32]> {
        let context = self.context;
        if context == 0 {
            return Err(Error::Text(
                "expected windows of at least 1 token, found 0".to_owned(),
            ));
        }
        let skipped = self.from_chunk.saturating_mul(context).min(tokens.len());
        let tokens = &tokens[skipped..];
        if tokens.len() / 2 < context {
            return Err(Error::Text(format!(
                "the text: expected at least {} tokens, two windows of {context}, found {} left",
                context.saturating_mul(2),
                tokens.len()
            )));
        }
        Ok(tokens)
    }

    /// Number of windows of a text.
    ///
    /// # Errors
    /// As [`Calibration::text`].
    pub fn windows(&self, tokens: &[u32]) -> Result<usize> {
        let available = self.text(tokens)?.len() / self.context;
        Ok(self.chunks.map_or(available, |n| n.min(available)))
    }

    /// The windows of part `number`, counted from 1, of `count`: whole steps, so that sums are rounded where one run
    /// rounds them.
    ///
    /// # Errors
    /// As [`Calibration::text`].
    pub fn part(&self, tokens: &[u32], number: u64, count: u64) -> Result<Range<usize>> {
        let windows = self.windows(tokens)?;
        let per_step = self.per_step();
        let steps = windows.div_ceil(per_step) as u128;
        let end = |number: u64| {
            let steps = steps * u128::from(number.min(count)) / u128::from(count.max(1));
            windows.min(steps as usize * per_step)
        };
        Ok(end(number.saturating_sub(1))..end(number))
    }

    /// Windows run together: a step, after which sums are rounded.
    pub fn per_step(&self) -> usize {
        (STEP_TOKENS / self.context).max(1)
    }
}

/// Where a calibration is after a step.
#[non_exhaustive]
pub struct Step<'a> {
    /// Windows run, those set aside included.
    pub done: usize,
    /// Windows in all.
    pub of: usize,
    /// Sums collected so far.
    pub collected: &'a Accumulator,
    /// Windows of this step that were set aside, and the tensor whose inputs were not finite.
    pub set_aside: Vec<(usize, String)>,
}

/// Runs the windows of `tokens` that `accumulator` does not have yet, and adds them to it: those after the first
/// `already`. `report` is called after each step; an error of it ends the work, with what was collected so far in the
/// accumulator.
///
/// # Errors
/// Too few tokens, weights that cannot be read, sums of another model, or an error of `report`.
pub fn collect<E: From<Error>>(
    model: &Model,
    tokens: &[u32],
    calibration: &Calibration,
    accumulator: &mut Accumulator,
    already: usize,
    report: &mut dyn FnMut(Step<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let windows = already..calibration.windows(tokens)?;
    collect_windows(model, tokens, calibration, accumulator, windows, report)
}

/// [`collect`] of these windows alone, such as those of a part ([`Calibration::part`]).
///
/// # Errors
/// As [`collect`].
pub fn collect_windows<E: From<Error>>(
    model: &Model,
    tokens: &[u32],
    calibration: &Calibration,
    accumulator: &mut Accumulator,
    windows: Range<usize>,
    report: &mut dyn FnMut(Step<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let context = calibration.context;
    let of = windows.end.min(calibration.windows(tokens)?);
    let tokens = calibration.text(tokens)?;
    let experts = expert_counts(model);
    let per_step = calibration.per_step();
    let mut done = windows.start;
    while done < of {
        let step = done..of.min(done + per_step);
        let windows: Vec<Vec<u32>> = tokens[step.start * context..step.end * context]
            .chunks_exact(context)
            .map(|window| {
                let mut window = window.to_vec();
                window[0] = calibration.bos.unwrap_or(window[0]);
                window
            })
            .collect();
        let mut tap = Collector {
            accumulator,
            experts: &experts,
            process_output: calibration.process_output,
        };
        let mut set_aside = Vec::new();
        if tap.run(model, &windows)? {
            tap.accumulator
                .commit(windows.len() as u32)
                .map_err(Error::from)?;
        } else {
            // One window spoils the step: run each for itself, and keep what is finite.
            for (offset, window) in windows.iter().enumerate() {
                tap.accumulator.discard();
                if tap.run(model, std::slice::from_ref(window))? {
                    tap.accumulator.commit(1).map_err(Error::from)?;
                } else {
                    let tensor = tap.accumulator.not_finite().unwrap_or_default().to_owned();
                    // It counts as run, so that a checkpoint knows where to go on.
                    tap.accumulator.discard();
                    tap.accumulator.commit(1).map_err(Error::from)?;
                    set_aside.push((calibration.from_chunk + step.start + offset, tensor));
                }
            }
            tap.accumulator.discard();
        }
        done = step.end;
        report(Step {
            done,
            of,
            collected: accumulator,
            set_aside,
        })?;
    }
    Ok(())
}

/// Whether a tensor is one of a layer, which importance is collected for.
pub fn is_in_layer(tensor: &str) -> bool {
    // Models of two texts have two stacks of layers. llama-imatrix knows none of these, and does not run them.
    let side = ["enc.", "dec."]
        .into_iter()
        .find_map(|side| tensor.strip_prefix(side));
    side.unwrap_or(tensor).starts_with("blk.")
}

/// Matrices stacked in each tensor of experts.
fn expert_counts(model: &Model) -> HashMap<String, usize> {
    model
        .gguf()
        .tensors()
        .filter_map(|t| {
            let matrices = *t.info.shape.get(2)?;
            Some((t.info.name.clone(), usize::try_from(matrices).ok()?))
        })
        .collect()
}

struct Collector<'a> {
    accumulator: &'a mut Accumulator,
    experts: &'a HashMap<String, usize>,
    process_output: bool,
}

impl Collector<'_> {
    /// Runs windows; whether all inputs were finite.
    fn run(&mut self, model: &Model, windows: &[Vec<u32>]) -> Result<bool> {
        let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        model.observe(&views, &mut *self)?;
        Ok(self.accumulator.not_finite().is_none())
    }
}

impl Tap for Collector<'_> {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, input: &[f32], columns: usize) {
        // As llama-imatrix: layers, and the output matrix when asked for.
        let collected = is_in_layer(tensor) || self.process_output && tensor == "output.weight";
        if !collected {
            return;
        }
        let expert = expert.map(|index| (index, self.experts.get(tensor).copied().unwrap_or(index + 1)));
        self.accumulator.add(tensor, expert, input, columns);
    }
}
