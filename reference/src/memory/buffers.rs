//! The buffer of llama.cpp's computation: what is alive at once where its graph needs most.
//!
//! Either the logits of a batch and what is left below them, or the widest part of a layer. How llama.cpp's allocator
//! fits tensors into the gaps of others is not worked out; the factors are those of its reports (oracle/tests/memory.rs).

use super::shape::Shape;
use super::{Cells, Settings};

/// Bytes of buffers.
pub(super) struct Buffers {
    pub(super) compute: u64,
    pub(super) inputs: u64,
}

/// Bytes of a number of the computation.
const F32: u64 = 4;

pub(super) fn estimate(shape: &Shape, settings: &Settings, cells: &Cells) -> Buffers {
    // Everything grows with the tokens computed at once.
    let of_batch = |width: u64| width.saturating_mul(cells.batch).saturating_mul(F32);
    let hidden = |n: u64| shape.hidden.saturating_mul(n);
    let seen = |tokens: u64| match shape.cached {
        true => tokens,
        false => cells.batch,
    };
    let attends = shape.layers.iter().any(|l| l.key > 0) || !shape.cached;
    let windowed = shape.layers.iter().any(|l| l.windowed && l.key > 0);
    let full = shape.layers.iter().any(|l| !l.windowed && l.key > 0) || !shape.cached;
    // Who sees whom, a number for each token of the batch and each cell of a stream.
    let element = if settings.flash { 2 } else { F32 };
    let mask = |there: bool, tokens: u64| match there && attends {
        true => seen(tokens).saturating_mul(cells.batch).saturating_mul(element),
        false => 0,
    };
    let masks = mask(full, cells.of_each).saturating_add(mask(windowed, cells.window));

    let latent = if shape.latent { hidden(7) } else { 0 };
    let head = of_batch(shape.vocabulary.saturating_add(hidden(3)).saturating_add(latent));
    let mixed = shape.active.saturating_mul(3).saturating_add(hidden(4));
    let gathered = hidden(2)
        .saturating_mul(shape.experts_used)
        .saturating_add(shape.active);
    let mut layer = of_batch(mixed.max(gathered)).saturating_add(masks);
    if !settings.flash {
        let widest = |of: fn(&super::shape::LayerKind) -> u64| shape.layers.iter().map(of).max().unwrap_or(0);
        let (queries, keys) = (widest(|l| l.queries), widest(|l| l.key));
        let around = hidden(3)
            .saturating_add(queries.saturating_mul(2))
            .saturating_add(keys.saturating_mul(2));
        let scores = |windowed: bool, tokens: u64| {
            let heads = shape
                .layers
                .iter()
                .filter(|l| l.windowed == windowed && l.key > 0);
            let heads = heads.map(|l| l.heads).max().unwrap_or(0);
            of_batch(heads.saturating_mul(seen(tokens)))
        };
        let scores = scores(false, cells.of_each).max(scores(true, cells.window));
        layer = layer.max(of_batch(around).saturating_add(scores).saturating_add(masks));
    }
    Buffers {
        compute: head.max(layer),
        inputs: masks.saturating_add(of_batch(shape.hidden)),
    }
}
