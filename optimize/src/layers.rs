//! The level that learns from the layers' inputs.

mod groups;
mod store;
mod tap;
mod tensor;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use convert::plan::{OutputPlan, PlannedTensor};
use convert::source::Source;
use reference::{Model, Staged};

use self::groups::{Group, groups};
use self::store::Stored;
use self::tap::Collector;
use self::tensor::Job;
use crate::hessian::{Damping, Moments};
use crate::report::{Kept, Learned, Report};
use crate::{Error, Result};

/// Tokens in a window of the calibration text.
pub const WINDOW: usize = 512;
/// Tokens that run together.
const BATCH_TOKENS: usize = 2048;
/// Tokens to learn from, for each column of the widest matrix, at least.
const TOKENS_PER_COLUMN: usize = 15;
/// One window of so many is held out.
const HELD_OUT: usize = 8;

/// How tensors are learned.
#[derive(Clone, Debug)]
pub struct LayerOptions {
    /// Windows of the calibration text.
    pub windows: Vec<Vec<u32>>,
    /// How second moments are damped.
    pub damping: Damping,
    /// Bytes that hidden states and second moments may take.
    pub max_memory: u64,
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
    let planned: HashMap<String, PlannedTensor> = outputs
        .iter()
        .flat_map(|output| output.contents())
        .filter(|tensor| tensor.ty != source.tensors()[tensor.source].ty && tensor.ty.is_quantized())
        .map(|tensor| (tensor.name.clone(), tensor.clone()))
        .collect();
    let split = Split::new(model, source, &planned, options)?;
    let mut learned: HashMap<String, Arc<[u8]>> = HashMap::new();
    // Embeddings are looked up, and what layers see of them is quantized too.
    let mut embeddings = Vec::new();
    for name in [
        "token_embd.weight",
        "per_layer_token_embd.weight",
        "position_embd.weight",
    ] {
        if let Some(tensor) = planned.get(name) {
            let blocks = Job::new(source, tensor)?.stock()?;
            embeddings.push((name.to_owned(), tensor.ty, Arc::from(blocks)));
        }
    }
    let mut staged = model.staged(&options.windows, &split.batches, embeddings)?;
    let mut report = Report::default();
    for layer in 0..model.layers() {
        on_layer(layer, model.layers());
        for group in groups(&staged, &planned)? {
            let mut jobs = Vec::new();
            for tensor in group.tensors.iter().filter_map(|name| planned.get(name)) {
                let job = Job::new(source, tensor)?;
                if job.can_learn() {
                    jobs.push(job);
                    continue;
                }
                staged.replace(job.name(), job.ty(), Arc::from(job.stock()?))?;
                report.tensors.push(Learned {
                    tensor: job.name().to_owned(),
                    ratios: None,
                    kept: Some(Kept::Type),
                    matrices: (job.matrices, job.matrices),
                });
            }
            learn_group(&staged, &split, &group, &mut jobs, options)?;
            for job in jobs {
                let ty = job.ty();
                let (entry, blocks) = job.finish();
                let blocks: Arc<[u8]> = Arc::from(blocks);
                staged.replace(&entry.tensor, ty, Arc::clone(&blocks))?;
                learned.insert(entry.tensor.clone(), blocks);
                report.tensors.push(entry);
            }
        }
        staged.advance()?;
    }
    on_layer(model.layers(), model.layers());
    for output in outputs {
        for index in 0..output.contents().len() {
            if let Some(blocks) = learned.get(&output.contents()[index].name) {
                output.set_encoder(index, Arc::new(Stored::new(Arc::clone(blocks))));
            }
        }
    }
    Ok(report)
}

/// Which batches teach, and which test.
struct Split {
    batches: Vec<Range<usize>>,
    /// Batches to learn from; the others are held out.
    teaching: usize,
}

impl Split {
    fn new(
        model: &Model,
        source: &dyn Source,
        planned: &HashMap<String, PlannedTensor>,
        options: &LayerOptions,
    ) -> Result<Self> {
        let windows = options.windows.len();
        let held_out = (windows / HELD_OUT).max(1);
        let teaching = windows.saturating_sub(held_out);
        let tokens: usize = options.windows[..teaching].iter().map(Vec::len).sum();
        let widest = planned
            .values()
            .filter(|tensor| tensor.name.starts_with("blk.") && quants::parts::layout(tensor.ty).is_some())
            .map(|tensor| {
                (
                    source.tensors()[tensor.source]
                        .shape
                        .first()
                        .copied()
                        .unwrap_or(0),
                    tensor,
                )
            })
            .max_by(|a, b| (a.0, &b.1.name).cmp(&(b.0, &a.1.name)));
        let Some((columns, tensor)) = widest else {
            return Err(Error::Request(
                "no tensor of a layer has a type whose blocks can be learned".into(),
            ));
        };
        let needed = columns.saturating_mul(TOKENS_PER_COLUMN as u64);
        if (tokens as u64) < needed || tokens == 0 {
            return Err(Error::Request(format!(
                "tensor {}: found {tokens} tokens to learn its {columns} columns from, expected at least {needed} \
                 ({TOKENS_PER_COLUMN} a column), and an eighth as many to hold out: a text of about {} tokens",
                tensor.name,
                needed + needed / (HELD_OUT as u64 - 1) + 2 * WINDOW as u64,
            )));
        }
        let all: usize = options.windows.iter().map(Vec::len).sum();
        let width = model.bytes_per_token();
        // Hidden states, and the moments, the factor and both metrics of one input.
        let states = (all as u64).saturating_mul(width / 4);
        let batch = (BATCH_TOKENS as u64).saturating_mul(width);
        let moments = Moments::bytes(usize::try_from(columns).unwrap_or(usize::MAX)).saturating_mul(7);
        let bytes = states.saturating_add(batch).saturating_add(moments);
        if bytes > options.max_memory {
            return Err(Error::Request(format!(
                "learning from {all} tokens needs about {bytes} bytes of memory, more than the bound of {}",
                options.max_memory
            )));
        }
        let per_batch = (BATCH_TOKENS / WINDOW).max(1);
        let cut = |range: Range<usize>| {
            range
                .clone()
                .step_by(per_batch)
                .map(move |first| first..range.end.min(first + per_batch))
        };
        let mut batches: Vec<Range<usize>> = cut(0..teaching).collect();
        let teaching = batches.len();
        batches.extend(cut(windows - held_out..windows));
        Ok(Self { batches, teaching })
    }
}

/// Encodes the tensors that see one input, matrix by matrix where they are stacks.
fn learn_group(
    staged: &Staged<'_>,
    split: &Split,
    group: &Group,
    jobs: &mut [Job<'_>],
    options: &LayerOptions,
) -> Result<()> {
    let Some(first) = jobs.first() else {
        return Ok(());
    };
    let (columns, matrices) = (first.columns, first.matrices);
    let room = options.max_memory / 4 / Moments::bytes(columns).max(1);
    let at_once = usize::try_from(room / 2).unwrap_or(1).clamp(1, matrices);
    let mut pooled = None;
    for first in (0..matrices).step_by(at_once) {
        let range = first..matrices.min(first + at_once);
        let collect = |batches: Range<usize>, pool: bool| -> Result<_> {
            let mut tap = Collector::new(group, columns, range.clone(), pool);
            for batch in batches {
                tap.begin();
                staged.observe(batch, &mut tap)?;
            }
            Ok(tap.into_moments())
        };
        let (teaching, all_teaching) = collect(0..split.teaching, pooled.is_none())?;
        let (held_out, all_held_out) = collect(split.teaching..split.batches.len(), pooled.is_none())?;
        let (prior, held_out_prior) = pooled.get_or_insert((all_teaching, all_held_out));
        for (matrix, (mut teaching, mut held_out)) in range.zip(teaching.into_iter().zip(held_out)) {
            // Few tokens say little of an expert; what all experts see stands in for the rest.
            if let Some(prior) = prior {
                teaching.add_prior(prior, columns as f32);
            }
            if let Some(prior) = held_out_prior {
                held_out.add_prior(prior, (columns / HELD_OUT) as f32);
            }
            tensor::learn(jobs, matrix, teaching, held_out, options.damping)?;
        }
    }
    Ok(())
}
