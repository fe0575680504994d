//! The level that learns from the layers' inputs.

pub(crate) mod groups;
mod head;
pub(crate) mod ledger;
mod split;
mod tap;
pub(crate) mod tensor;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use convert::pipeline::fingerprint;
use convert::plan::{OutputPlan, PlannedTensor};
use convert::scratch::Scratch;
use convert::source::Source;
use reference::{Model, Staged};

use self::groups::{Group, groups};
use self::ledger::{Entry, Ledger, Stored};
use self::split::Split;
use self::tap::Collector;
use self::tensor::Job;
use crate::Result;
use crate::metric::Damping;
use crate::moments::{Moments, Purpose};
use crate::report::{Kept, Learned, Report};

/// Tokens in a window of the calibration text.
pub const WINDOW: usize = 512;
/// Tensors whose rows are looked up.
const LOOKED_UP: [&str; 3] = [
    "token_embd.weight",
    "per_layer_token_embd.weight",
    "position_embd.weight",
];
/// One window of so many is held out.
pub(crate) const HELD_OUT: usize = 8;

/// How tensors are learned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LayerOptions {
    /// Windows of the calibration text.
    pub windows: Vec<Vec<u32>>,
    /// How second moments are damped.
    pub damping: Damping,
    /// Bytes that hidden states, second moments and what is kept of a layer may take. Where the states alone would take
    /// more than half of it, they go to files.
    pub max_memory: u64,
    /// Folder for files that go with this run.
    pub folder: PathBuf,
    /// File that keeps the layers that are done when the run is killed, and from which it goes on. It stays when all
    /// is done.
    pub resume: Option<PathBuf>,
}

gguf::setters! {
    LayerOptions {
        damping: Damping,
        max_memory: u64,
        resume: Option<PathBuf>,
    }
}

impl LayerOptions {
    /// Learning from these windows in as much memory as it takes, with temporary files in `folder`.
    pub fn new(windows: Vec<Vec<u32>>, folder: impl Into<PathBuf>) -> Self {
        Self {
            windows,
            damping: Damping::default(),
            max_memory: u64::MAX,
            folder: folder.into(),
            resume: None,
        }
    }
}

/// Where the work is: layers done, and layers in all.
pub type OnLayer<'a> = &'a mut dyn FnMut(usize, usize);

/// Learns the blocks of a file's tensors and gives them to its plan. `model` is the unquantized model, `source` what
/// the plan was made of; `outputs` are the shards of one file.
///
/// # Errors
/// Too few tokens, too little memory, and whatever keeps the model from running or the source from being read.
pub fn layers(
    model: &Model,
    source: &dyn Source,
    outputs: &mut [OutputPlan<'_>],
    options: &LayerOptions,
    on_layer: OnLayer<'_>,
) -> Result<Report> {
    Ok(learned(model, source, outputs, options, on_layer)?.hand_over(outputs))
}

/// Learned blocks, and where they are.
pub(crate) struct Blocks {
    pub(crate) ledger: Ledger,
    /// Of the layers' tensors.
    pub(crate) entries: Vec<Entry>,
    /// The entries of the ledger after the layers.
    pub(crate) further: Option<Vec<Entry>>,
    pub(crate) report: Report,
}

impl Blocks {
    /// Gives the blocks to the plan. Of a tensor that was entered twice, those entered last count.
    pub(crate) fn hand_over(self, outputs: &mut [OutputPlan<'_>]) -> Report {
        let entries: HashMap<String, Entry> = self
            .entries
            .into_iter()
            .map(|entry| (entry.learned.tensor.clone(), entry))
            .collect();
        let ledger = Arc::new(self.ledger);
        for output in outputs {
            for index in 0..output.contents().len() {
                if let Some(entry) = entries.get(&output.contents()[index].name) {
                    let (ledger, entry) = (Arc::clone(&ledger), entry.clone());
                    output.set_encoder(index, Arc::new(Stored { ledger, entry }));
                }
            }
        }
        self.report
    }
}

/// Learns the blocks of a file's tensors.
pub(crate) fn learned(
    model: &Model,
    source: &dyn Source,
    outputs: &[OutputPlan<'_>],
    options: &LayerOptions,
    on_layer: OnLayer<'_>,
) -> Result<Blocks> {
    let planned: HashMap<String, PlannedTensor> = outputs
        .iter()
        .flat_map(|output| output.contents())
        .filter(|tensor| tensor.ty != source.tensors()[tensor.source].ty && tensor.ty.is_quantized())
        .map(|tensor| (tensor.name.clone(), tensor.clone()))
        .collect();
    let split = Split::new(model, source, &planned, options)?;
    let (ledger, mut done) = match &options.resume {
        Some(path) => Ledger::open(path, &fingerprint(source, outputs)?)?,
        None => (Ledger::temporary(Scratch::new(&options.folder)?)?, Vec::new()),
    };
    // The ends and the layers between them.
    let stages = model.layers() + 2;
    let known_layers = done.len().saturating_sub(1).min(model.layers());
    let further = match done.len() > stages {
        true => done.pop(),
        false => None,
    };
    let entries = if done.len() < stages {
        let work = Work {
            model,
            source,
            planned: &planned,
            split: &split,
            options,
            ledger: &ledger,
        };
        work.learn(done, on_layer)?
    } else {
        done.into_iter().flatten().collect()
    };
    on_layer(model.layers(), model.layers());
    let report = Report {
        tensors: entries.iter().map(|entry| entry.learned.clone()).collect(),
        known_layers,
        in_files: split.spills,
        tuned: None,
    };
    Ok(Blocks {
        ledger,
        entries,
        further,
        report,
    })
}

/// Inputs of learning.
struct Work<'a> {
    model: &'a Model,
    source: &'a dyn Source,
    planned: &'a HashMap<String, PlannedTensor>,
    split: &'a Split,
    options: &'a LayerOptions,
    ledger: &'a Ledger,
}

impl Work<'_> {
    /// Runs the text through the model, learns the layers that are not `done`, and returns the tensors of all.
    fn learn(&self, done: Vec<Vec<Entry>>, on_layer: OnLayer<'_>) -> Result<Vec<Entry>> {
        on_layer(0, self.model.layers());
        let mut done = done.into_iter();
        let tied = match done.next() {
            Some(known) => known,
            None => self.ledger.add(self.learn_tied()?)?,
        };
        // Embeddings are looked up, and what layers see of them is quantized too.
        let mut embeddings = Vec::new();
        for name in LOOKED_UP {
            if let Some(tensor) = self.planned.get(name) {
                let blocks = match tied.iter().find(|entry| entry.learned.tensor == name) {
                    Some(entry) => self.ledger.blocks(entry)?,
                    None => Arc::from(Job::new(self.source, tensor)?.stock()?),
                };
                embeddings.push((name.to_owned(), tensor.ty, blocks));
            }
        }
        let of_these = self.spill()?;
        let folder = of_these.as_ref().map(Scratch::path);
        let mut staged = self
            .model
            .staged(&self.options.windows, &self.split.batches, embeddings, folder)?;
        // The unquantized model goes beside it: what its tensors put out is what those encoded here have to.
        let of_exact = self.spill()?;
        let folder = of_exact.as_ref().map(Scratch::path);
        let mut exact = self
            .model
            .staged(&self.options.windows, &self.split.batches, Vec::new(), folder)?;
        let mut entries = tied;
        for layer in 0..self.model.layers() {
            on_layer(layer, self.model.layers());
            if let Some(known) = done.next() {
                for entry in &known {
                    staged.replace(&entry.learned.tensor, entry.ty, self.ledger.blocks(entry)?)?;
                }
                entries.extend(known);
            } else {
                let mut tensors = Vec::new();
                let groups = groups(&staged, self.planned)?;
                // Each group's inputs are made of what those before it put out, which is computed once.
                let open = groups.iter().flat_map(|group| group.tensors.iter().cloned());
                staged.keep(self.split.room / 2, open.collect());
                exact.keep(self.split.room / 2, HashSet::new());
                for group in groups {
                    let mut jobs = Vec::new();
                    for tensor in group.tensors.iter().filter_map(|name| self.planned.get(name)) {
                        let job = Job::new(self.source, tensor)?;
                        if job.can_learn() {
                            jobs.push(job);
                            continue;
                        }
                        let blocks: Arc<[u8]> = Arc::from(job.stock()?);
                        staged.replace(job.name(), job.ty(), Arc::clone(&blocks))?;
                        let learned = Learned {
                            tensor: job.name().to_owned(),
                            ratios: None,
                            kept: Some(Kept::Type),
                            matrices: (job.matrices, job.matrices),
                        };
                        tensors.push((learned, job.ty(), blocks));
                    }
                    self.learn_group(&staged, &exact, &group, &mut jobs)?;
                    for job in jobs {
                        let ty = job.ty();
                        let (learned, blocks) = job.finish();
                        let blocks: Arc<[u8]> = Arc::from(blocks);
                        staged.replace(&learned.tensor, ty, Arc::clone(&blocks))?;
                        tensors.push((learned, ty, blocks));
                    }
                }
                entries.extend(self.ledger.add(tensors)?);
            }
            staged.advance()?;
            exact.advance()?;
        }
        entries.extend(match done.next() {
            Some(known) => known,
            None => self.ledger.add(self.learn_output(&staged, &exact)?)?,
        });
        Ok(entries)
    }

    /// A folder for hidden states, where they go to files.
    fn spill(&self) -> Result<Option<Scratch>> {
        let spills = self.split.spills;
        Ok(spills.then(|| Scratch::new(&self.options.folder)).transpose()?)
    }

    /// Encodes the tensors that see one input, matrix by matrix where they are stacks.
    fn learn_group<'m>(
        &self,
        staged: &Staged<'m>,
        exact: &Staged<'m>,
        group: &Group,
        jobs: &mut [Job<'_>],
    ) -> Result<()> {
        let Some(first) = jobs.first() else {
            return Ok(());
        };
        let (columns, matrices) = (first.columns, first.matrices);
        let room = self.options.max_memory / 4 / Moments::bytes(columns).max(1);
        let at_once = usize::try_from(room / 2).unwrap_or(1).clamp(1, matrices);
        let mut pooled = None;
        for first in (0..matrices).step_by(at_once) {
            let range = first..matrices.min(first + at_once);
            let collect = |batches: Range<usize>, pool: bool, purpose: Purpose| -> Result<_> {
                let tap = Collector::new(group, columns, range.clone(), pool, purpose);
                // The tokens of an expert are not the same ones there.
                let exact = (!group.experts).then_some(exact);
                let tap = tap.fill(batches, (staged, exact), Staged::observe)?;
                Ok(tap.into_moments())
            };
            let (teaching, all_teaching) =
                collect(0..self.split.teaching, pooled.is_none(), Purpose::Teaching)?;
            let held_out = self.split.teaching..self.split.batches.len();
            let (held_out, all_held_out) = collect(held_out, pooled.is_none(), Purpose::Judging)?;
            let (prior, held_out_prior) = pooled.get_or_insert((all_teaching, all_held_out));
            for (matrix, (mut teaching, mut held_out)) in range.zip(teaching.into_iter().zip(held_out)) {
                // Few tokens say little of an expert; what all experts see stands in for the rest.
                if let Some(prior) = prior {
                    teaching.add_prior(prior, columns as f64);
                }
                if let Some(prior) = held_out_prior {
                    held_out.add_prior(prior, (columns / HELD_OUT) as f64);
                }
                tensor::learn(jobs, matrix, &teaching, &held_out, self.options.damping)?;
            }
        }
        Ok(())
    }
}
