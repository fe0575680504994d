//! Windows to learn from and windows to judge by, and the memory that both take.

use std::collections::HashMap;
use std::ops::Range;

use convert::plan::PlannedTensor;
use convert::source::Source;
use reference::Model;
use reference::calibration::is_in_layer;

use super::{HELD_OUT, LayerOptions, WINDOW};
use crate::block::can_learn;
use crate::moments::Moments;
use crate::{Error, Result};

/// Tokens that run together.
const BATCH_TOKENS: usize = 2048;
/// Tokens to learn from, for each column of the widest matrix, at least.
const TOKENS_PER_COLUMN: usize = 15;

/// Which batches teach, and which test.
pub(super) struct Split {
    pub(super) batches: Vec<Range<usize>>,
    /// Batches to learn from; the others are held out.
    pub(super) teaching: usize,
    /// Whether hidden states go to files.
    pub(super) spills: bool,
    /// Bytes for what parts of a layer put out.
    pub(super) room: u64,
}

impl Split {
    pub(super) fn new(
        model: &Model,
        source: &dyn Source,
        planned: &HashMap<String, PlannedTensor>,
        options: &LayerOptions,
    ) -> Result<Self> {
        let windows = options.windows.len();
        let held_out = (windows / HELD_OUT).max(1);
        let teaching = windows.saturating_sub(held_out);
        let tokens: usize = options.windows[..teaching].iter().map(Vec::len).sum();
        let head = model.output_matrix();
        let shape = |tensor: &PlannedTensor| &source.tensors()[tensor.source].shape;
        let learned: Vec<&PlannedTensor> = planned
            .values()
            .filter(|tensor| is_in_layer(&tensor.name) || Some(tensor.name.as_str()) == head)
            .filter(|tensor| can_learn(tensor.ty))
            .collect();
        let widest = learned
            .iter()
            .map(|&tensor| (shape(tensor).first().copied().unwrap_or(0), tensor))
            .max_by(|a, b| (a.0, &b.1.name).cmp(&(b.0, &a.1.name)));
        let Some((columns, tensor)) = widest else {
            return Err(Error::Request(
                "no tensor of a layer, and no output matrix, has a type whose blocks can be learned".into(),
            ));
        };
        let needed = columns.saturating_mul(TOKENS_PER_COLUMN as u64);
        if (tokens as u64) < needed || tokens == 0 {
            return Err(Error::Request(format!(
                "tensor '{}': expected at least {needed} tokens to learn its {columns} columns from ({TOKENS_PER_COLUMN} a \
                 column), and an eighth as many to hold out: a text of about {} tokens, found {tokens}",
                tensor.name,
                needed + needed / (HELD_OUT as u64 - 1) + 2 * WINDOW as u64,
            )));
        }
        let all: usize = options.windows.iter().map(Vec::len).sum();
        let width = model.bytes_per_token();
        // Hidden states of both models, and what one tensor takes.
        let states = (all as u64).saturating_mul(width / 2);
        let batch = (BATCH_TOKENS as u64).saturating_mul(width);
        let moments = learned
            .iter()
            .map(|tensor| memory(shape(tensor), is_in_layer(&tensor.name)))
            .max()
            .unwrap_or(0);
        let spills = states > options.max_memory / 2;
        let bytes = batch.saturating_add(moments);
        let left = options.max_memory - if spills { 0 } else { states };
        if bytes > left {
            return Err(Error::Request(format!(
                "learning {columns} columns ({}) needs about {bytes} bytes of memory, more than the bound of {}",
                tensor.name, options.max_memory
            )));
        }
        let stacks = planned
            .values()
            .any(|tensor| shape(tensor).get(2).is_some_and(|&n| n > 1));
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
        Ok(Self {
            batches,
            teaching,
            spills,
            // Of stacks, moments of several matrices are collected at a time.
            room: (left - bytes).saturating_sub(if stacks { options.max_memory / 4 } else { 0 }),
        })
    }
}

/// Bytes that learning a tensor takes at most: the moments, the factor and the metrics of its input, and where its
/// output may be added to a state, what that lacks, for each pair of an output and a column.
fn memory(shape: &[u64], in_layer: bool) -> u64 {
    let columns = shape.first().copied().unwrap_or(1);
    let of_input = Moments::bytes(usize::try_from(columns).unwrap_or(usize::MAX)).saturating_mul(12);
    match shape {
        [_, outputs] if in_layer => {
            let pairs = columns.saturating_mul(*outputs).saturating_mul(4);
            of_input.saturating_add(pairs.saturating_mul(8))
        }
        _ => of_input,
    }
}
