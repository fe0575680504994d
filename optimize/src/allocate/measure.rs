//! Measuring what each type of each tensor costs a model's predictions.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use convert::plan::PlannedTensor;
use convert::scratch::Scratch;
use convert::source::Source;
use gguf::TensorType;
use reference::{Model, Staged, Tap};
use sha2::{Digest as _, Sha256};

use super::layer::{Collector, Means, Moments, Shape, errors, sample};
use super::open::{OnStep, Open};
use super::probe::Prober;
use super::sensitivity::{Losses, Sensitivity};
use super::squares::Squares;
use crate::layers::groups::{Group, groups};
use crate::{Error, Result};

/// Tokens that run together.
const BATCH_TOKENS: usize = 2048;
/// Windows over which tensors are tried one at a time.
const PROBE_WINDOWS: usize = 2;
/// Embeddings: tables of rows that are looked up.
const LOOKED_UP: [&str; 2] = ["token_embd.weight", "per_layer_token_embd.weight"];

/// How sensitivities are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// By a tensor's errors in what its layer puts out, and the mean squares of the loss's gradients there: half the sum
    /// over rows of `E[g²] d H dᵀ`, d being a row's error and H the second moments of the layer's inputs. The labels of
    /// the loss are drawn from the model.
    Gradient,
    /// By a tensor's errors in what its layer puts out, and one measured divergence for each tensor.
    Probe,
}

impl Method {
    const ALL: [Self; 2] = [Self::Gradient, Self::Probe];

    /// The name in files and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gradient => "gradient",
            Self::Probe => "probe",
        }
    }

    /// The method of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// How to measure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MeasureOptions {
    /// Windows of the text, all of one length.
    pub windows: Vec<Vec<u32>>,
    /// The method; where none is named, gradients of models that have a backward pass, else probes.
    pub method: Option<Method>,
    /// The types to choose from, over all tensors.
    pub pool: Vec<TensorType>,
    /// The encoder ([`encoder_digest`]).
    pub encoder: String,
    /// Bytes that hidden states and moments may take. Where states would take more than half of it, they go to files;
    /// where moments would, those of columns far from each other are left out.
    pub max_memory: u64,
    /// Folder for files that go with this run.
    pub folder: PathBuf,
}

gguf::setters! {
    MeasureOptions {
        method: Option<Method>,
        pool: Vec<TensorType>,
        encoder: String,
        max_memory: u64,
    }
}

impl MeasureOptions {
    /// Measuring over these windows in as much memory as it takes, with temporary files in `folder`: the types to choose
    /// from and the digest of their encoder are still to be set.
    pub fn new(windows: Vec<Vec<u32>>, folder: impl Into<PathBuf>) -> Self {
        Self {
            windows,
            method: None,
            pool: Vec::new(),
            encoder: String::new(),
            max_memory: u64::MAX,
            folder: folder.into(),
        }
    }
}

/// Finds for each type of each tensor the divergence that it is expected to cause by itself. Tensors that the forward
/// pass does not use are not in the result.
///
/// # Errors
/// Too few tokens, and whatever keeps the model from running or the source from being read.
pub fn measure(
    model: &Model,
    source: &dyn Source,
    open: &[Open],
    options: &MeasureOptions,
    on_step: OnStep<'_>,
) -> Result<Sensitivity> {
    let length = options.windows.first().map_or(0, Vec::len);
    if length < 4 || options.windows.iter().any(|w| w.len() != length) {
        return Err(Error::Request(format!(
            "expected at least one window of 4 tokens or more to measure over, found {} of {length}",
            options.windows.len()
        )));
    }
    let probe_windows = PROBE_WINDOWS.min(options.windows.len());
    let mut batches: Vec<Range<usize>> = std::iter::once(0..probe_windows).collect();
    let step = (BATCH_TOKENS / length).max(1);
    for first in (probe_windows..options.windows.len()).step_by(step) {
        batches.push(first..options.windows.len().min(first + step));
    }
    let tokens = options.windows.len() * length;
    let states = (tokens as u64).saturating_mul(model.bytes_per_token());
    let spill = (states > options.max_memory / 2)
        .then(|| Scratch::new(&options.folder))
        .transpose()?;
    let folder = spill.as_ref().map(Scratch::path);
    let staged = model.staged(&options.windows, &batches, Vec::new(), folder)?;
    let method = match (options.method, model.without_backward()) {
        (Some(Method::Gradient), Some(part)) => {
            return Err(Error::Request(format!(
                "the backward pass does not know {part}: expected method probe, which needs none"
            )));
        }
        (Some(method), _) => method,
        (None, None) => Method::Gradient,
        (None, Some(_)) => Method::Probe,
    };
    let by = match method {
        Method::Gradient => By::Gradient(Squares::collect(model, &options.windows, on_step)?),
        Method::Probe => By::Probe(Prober::new(model, &staged, &options.windows[..probe_windows])?),
    };
    let work = Work {
        model,
        source,
        open: open.iter().map(|o| (o.planned.name.as_str(), o)).collect(),
        planned: open
            .iter()
            .map(|o| (o.planned.name.clone(), o.planned.clone()))
            .collect(),
        options,
        tokens,
        by,
    };
    let found = work.run(staged, on_step)?;
    Ok(Sensitivity {
        method,
        model: model_digest(source)?,
        text: crate::digest(&options.windows),
        encoder: options.encoder.clone(),
        windows: options.windows.len(),
        pool: options.pool.clone(),
        tensors: open
            .iter()
            .filter_map(|o| {
                let losses = found.get(&o.planned.name)?;
                Some(Losses {
                    tensor: o.planned.name.clone(),
                    types: o.types.iter().copied().zip(losses.iter().copied()).collect(),
                })
            })
            .collect(),
    })
}

/// For each tensor a number for each of its types.
type Found = HashMap<String, Vec<f64>>;

struct Work<'a> {
    model: &'a Model,
    source: &'a dyn Source,
    open: HashMap<&'a str, &'a Open>,
    planned: HashMap<String, PlannedTensor>,
    options: &'a MeasureOptions,
    tokens: usize,
    by: By,
}

/// Factors that turn errors into losses.
enum By {
    Gradient(Squares),
    Probe(Prober),
}

impl Work<'_> {
    fn run(&self, mut staged: Staged<'_>, on_step: OnStep<'_>) -> Result<Found> {
        let mut found = Found::new();
        for name in LOOKED_UP {
            if let Some(open) = self.open.get(name) {
                found.insert(name.to_owned(), self.looked_up(open)?);
            }
        }
        let layers = self.model.layers();
        for layer in 0..layers {
            on_step("layers", layer, layers);
            for group in groups(&staged, &self.planned)? {
                for (name, errors) in self.group(&staged, &group)? {
                    let open = self.open[name.as_str()];
                    let losses = self.scaled(open, errors, |prober, ty| {
                        prober.divergence(&staged, self.source, &open.planned, ty)
                    })?;
                    found.insert(name, losses);
                }
            }
            staged.advance()?;
        }
        on_step("layers", layers, layers);
        self.head(&staged, &mut found)?;
        Ok(found)
    }

    /// Errors of all types of the tensors that see one input.
    fn group(&self, staged: &Staged<'_>, group: &Group) -> Result<Vec<(String, Vec<f64>)>> {
        let tensors: Vec<&Open> = group
            .tensors
            .iter()
            .filter_map(|name| self.open.get(name.as_str()).copied())
            .collect();
        let Some(first) = tensors.first() else {
            return Ok(Vec::new());
        };
        let shape = Shape::of(self.source, &first.planned)?;
        let bytes = self.options.max_memory / 2;
        let each = (shape.columns as u64).saturating_pow(2).saturating_mul(8);
        let at_once = usize::try_from(bytes / each.max(1))
            .unwrap_or(1)
            .clamp(1, shape.matrices.max(1));
        let mut sums: Vec<Vec<f64>> = tensors.iter().map(|open| vec![0.0; open.types.len()]).collect();
        for first in (0..shape.matrices).step_by(at_once) {
            let range = first..shape.matrices.min(first + at_once);
            let mut tap = Collector::new(group, shape.columns, range.clone(), bytes);
            for batch in 0..staged.batches() {
                tap.begin();
                staged.observe(batch, &mut tap)?;
            }
            for (matrix, moments) in range.zip(tap.moments) {
                // Experts that no token was sent to have no error.
                let Some(means) = moments.means() else { continue };
                let share = moments.tokens() as f64 / self.tokens as f64;
                for (open, sums) in tensors.iter().zip(&mut sums) {
                    let shape = Shape::of(self.source, &open.planned)?;
                    let rows = sample(&self.rows(open, shape, matrix, share), shape.sampled());
                    let errors = errors(self.source, open, matrix, &means, &rows)?;
                    sums.iter_mut().zip(errors).for_each(|(sum, error)| *sum += error);
                }
            }
        }
        let names = tensors.iter().map(|open| open.planned.name.clone());
        Ok(names.zip(sums).collect())
    }

    /// Weight of the error of each row of a matrix, through which a share of all tokens goes.
    fn rows(&self, open: &Open, shape: Shape, matrix: usize, share: f64) -> Vec<f64> {
        match &self.by {
            By::Probe(_) => vec![share; shape.rows],
            By::Gradient(squares) => {
                squares.of(&open.planned.name, matrix * shape.rows..(matrix + 1) * shape.rows)
            }
        }
    }

    /// Losses of an embedding.
    fn looked_up(&self, open: &Open) -> Result<Vec<f64>> {
        let shape = Shape::of(self.source, &open.planned)?;
        let mut counts = vec![0.0; shape.rows];
        for token in self.options.windows.iter().flatten() {
            if let Some(count) = counts.get_mut(*token as usize) {
                *count += 1.0 / self.tokens as f64;
            }
        }
        let rows = sample(&counts, 4 * shape.sampled());
        let columns = match &self.by {
            By::Probe(_) => vec![1.0; shape.columns],
            By::Gradient(squares) => squares.of_embedding(&open.planned.name, shape.columns),
        };
        let errors = errors(self.source, open, 0, &Means::diagonal(columns), &rows)?;
        let windows = &self.options.windows[..PROBE_WINDOWS.min(self.options.windows.len())];
        self.scaled(open, errors, |prober, ty| {
            prober.divergence_of_embedding(self.model, windows, self.source, &open.planned, ty)
        })
    }

    /// Losses of the output matrix. Where the embedding is that matrix, both add up; its divergence has been measured
    /// with both.
    fn head(&self, staged: &Staged<'_>, found: &mut Found) -> Result<()> {
        let mut tap = Head::default();
        staged.observe_head(0, &mut tap)?;
        let (Some(name), columns) = (tap.tensor.clone(), tap.columns) else {
            return Ok(());
        };
        let Some(open) = self.open.get(name.as_str()) else {
            return Ok(());
        };
        if matches!(self.by, By::Probe(_)) && found.contains_key(&name) {
            return Ok(());
        }
        tap.moments = Some(Moments::new(columns, self.options.max_memory / 2));
        for batch in 0..staged.batches() {
            staged.observe_head(batch, &mut tap)?;
        }
        let Some(means) = tap.moments.as_ref().and_then(Moments::means) else {
            return Ok(());
        };
        let shape = Shape::of(self.source, &open.planned)?;
        let rows = sample(&self.rows(open, shape, 0, 1.0), 4 * shape.sampled());
        let errors = errors(self.source, open, 0, &means, &rows)?;
        let mut losses = self.scaled(open, errors, |prober, ty| {
            prober.divergence(staged, self.source, &open.planned, ty)
        })?;
        if let Some(looked_up) = found.get(&name) {
            losses
                .iter_mut()
                .zip(looked_up)
                .for_each(|(loss, more)| *loss += more);
        }
        found.insert(name, losses);
        Ok(())
    }

    /// Errors of all types as divergences: those weighted by gradients are, others are by that of one type, which is
    /// measured.
    fn scaled(
        &self,
        open: &Open,
        mut errors: Vec<f64>,
        divergence: impl FnOnce(&Prober, TensorType) -> Result<f64>,
    ) -> Result<Vec<f64>> {
        let By::Probe(prober) = &self.by else {
            return Ok(errors);
        };
        let columns = Shape::of(self.source, &open.planned)?.columns;
        let tried = Prober::tried(open, columns);
        let (Some(&ty), Some(&error)) = (open.types.get(tried), errors.get(tried)) else {
            return Ok(errors);
        };
        let scale = match error > 0.0 {
            true => divergence(prober, ty)? / error,
            false => 0.0,
        };
        errors.iter_mut().for_each(|error| *error *= scale);
        Ok(errors)
    }
}

/// The input of the output matrix.
#[derive(Default)]
struct Head {
    tensor: Option<String>,
    columns: usize,
    moments: Option<Moments>,
}

impl Tap for Head {
    fn linear(&mut self, tensor: &str, _expert: Option<usize>, input: &[f32], columns: usize) {
        self.tensor.get_or_insert_with(|| tensor.to_owned());
        self.columns = columns;
        if let Some(moments) = &mut self.moments {
            moments.add(input);
        }
    }
}

/// A digest of a model by its tensors: names, shapes, and the weights of a few rows of each. The same model in another
/// file or another type without loss has the same one.
///
/// # Errors
/// When weights cannot be read.
pub fn model_digest(source: &dyn Source) -> Result<String> {
    let mut order: Vec<usize> = (0..source.tensors().len()).collect();
    order.sort_by_key(|&index| &source.tensors()[index].name);
    let mut state = Sha256::new();
    for index in order {
        let tensor = &source.tensors()[index];
        state.update((tensor.name.len() as u64).to_le_bytes());
        state.update(tensor.name.as_bytes());
        let shape = gguf::ggml_shape(&tensor.shape);
        for n in shape.iter().chain([&0]) {
            state.update(n.to_le_bytes());
        }
        let rows: u64 = tensor.shape.iter().skip(1).product();
        let columns = tensor.shape.first().copied().unwrap_or(1);
        let Ok(columns) = usize::try_from(columns) else {
            continue;
        };
        let mut row = vec![0.0; columns];
        for at in [0, rows / 2, rows.saturating_sub(1)] {
            if at < rows {
                source.read_rows(index, at..at + 1, &mut row)?;
                row.iter().for_each(|x| state.update(x.to_le_bytes()));
            }
        }
    }
    Ok(hex(&state.finalize()))
}

/// The encoder's name, with a digest of the importance that it is given.
pub fn encoder_digest<'a>(importance: impl IntoIterator<Item = (&'a str, &'a [f32])>) -> String {
    let mut all: Vec<_> = importance.into_iter().collect();
    all.sort_by_key(|(name, _)| *name);
    if all.is_empty() {
        return "stock, no importance".to_owned();
    }
    let mut state = Sha256::new();
    for (name, values) in all {
        state.update((name.len() as u64).to_le_bytes());
        state.update(name.as_bytes());
        state.update((values.len() as u64).to_le_bytes());
        values.iter().for_each(|x| state.update(x.to_le_bytes()));
    }
    format!("stock, importance {}", hex(&state.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
