//! Choice among the files of a table, by figures: what fits into a memory, what is beaten by another file, and what cannot
//! be told from the unquantized model.

use std::collections::BTreeMap;

use reference::memory::{RESERVE, Settings, estimate};

use crate::record::{Row, Table};

/// Windows from which on paired differences are worth an error of their own.
const MIN_CHUNKS: usize = 10;
/// Standard errors that make a difference one.
const ERRORS: f64 = 2.0;
/// Tokens of context that a choice has room for.
pub const CONTEXT: u64 = 8192;
/// Memories that people have, in GiB; none is as small as what stays free.
const BUDGETS_GIB: [u64; 19] = [
    2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 512,
];

/// The rows with a file of their own, from the smallest on.
pub fn files(table: &Table) -> Vec<&Row> {
    let mut rows: Vec<&Row> = table
        .rows
        .iter()
        .filter(|row| row.error.is_none() && row.same_as.is_none() && row.size.is_some())
        .collect();
    rows.sort_by_key(|row| row.size);
    rows
}

/// Whether the first diverges less than the second by more than chance: by the differences of the windows that both ran
/// over, where there are enough, and else by both errors.
pub fn is_better(a: &Row, b: &Row) -> bool {
    let (Some(a), Some(b)) = (&a.measured, &b.measured) else {
        return false;
    };
    let pairs = || a.per_chunk.kld.iter().zip(&b.per_chunk.kld).map(|(a, b)| b - a);
    let count = pairs().count();
    let (difference, error) = if count >= MIN_CHUNKS {
        let mean = pairs().sum::<f64>() / count as f64;
        let variance = pairs().map(|d| (d - mean) * (d - mean)).sum::<f64>() / (count - 1) as f64;
        (mean, (variance / count as f64).sqrt())
    } else {
        (b.kld.value - a.kld.value, a.kld.error.hypot(b.kld.error))
    };
    difference > ERRORS * error
}

/// The files that no other one beats: of those that are no larger, none has a smaller divergence. From the smallest on.
pub fn front<'a>(files: &[&'a Row]) -> Vec<&'a Row> {
    let kld = |row: &Row| row.measured.as_ref().map(|m| m.kld.value);
    let mut front: Vec<&Row> = Vec::new();
    for &row in files {
        let Some(own) = kld(row) else { continue };
        if front
            .last()
            .and_then(|last| kld(last))
            .is_none_or(|best| own < best)
        {
            // Of two of one size, the better.
            if front.last().is_some_and(|last| last.size == row.size) {
                front.pop();
            }
            front.push(row);
        }
    }
    front
}

/// The file to take instead of this one: not larger, and better beyond chance; the best of those.
pub fn beaten_by<'a>(row: &Row, files: &[&'a Row]) -> Option<&'a Row> {
    let kld = |row: &Row| row.measured.as_ref().map_or(f64::INFINITY, |m| m.kld.value);
    files
        .iter()
        .filter(|other| other.preset != row.preset && other.size <= row.size && is_better(other, row))
        .min_by(|a, b| kld(a).total_cmp(&kld(b)))
        .copied()
}

/// The choice for memories.
#[derive(Clone, Debug)]
pub struct ForMemory<'a> {
    /// GiB of memory, of the smallest and the largest memory with this choice; the last choice has no largest one.
    pub from_gib: u64,
    /// See [`Self::from_gib`].
    pub to_gib: Option<u64>,
    /// The file.
    pub row: &'a Row,
    /// Bytes that it needs on a GPU with its cache and buffers.
    pub needed: u64,
}

/// The best file for each memory: the smallest divergence, and without figures the largest file. `needed` has the bytes
/// that a GPU needs to hold a file as a whole, by preset; what is not in it is not chosen.
pub fn for_memories<'a>(files: &[&'a Row], needed: &BTreeMap<String, u64>) -> Vec<ForMemory<'a>> {
    let needs = |row: &Row| needed.get(&row.preset).copied();
    let worth = |row: &Row| match &row.measured {
        Some(m) => (1, -m.kld.value),
        None => (0, row.size.unwrap_or(0) as f64),
    };
    let mut choices: Vec<ForMemory<'a>> = Vec::new();
    for gib in BUDGETS_GIB {
        let room = (gib << 30) - RESERVE;
        let fitting = files.iter().filter(|row| needs(row).is_some_and(|n| n <= room));
        let best = fitting.max_by(|a, b| {
            let (a, b) = (worth(a), worth(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let Some(&row) = best else { continue };
        match choices.last_mut() {
            Some(last) if last.row.preset == row.preset => last.to_gib = Some(gib),
            _ => choices.push(ForMemory {
                from_gib: gib,
                to_gib: None,
                row,
                needed: needs(row).unwrap_or_default(),
            }),
        }
    }
    if let Some(last) = choices.last_mut() {
        last.to_gib = None;
    }
    choices
}

/// The smallest file whose perplexity cannot be told from the unquantized model's: their ratio is 1 within two standard
/// errors.
pub fn smallest_equal<'a>(files: &[&'a Row]) -> Option<&'a Row> {
    let equal = |row: &&&Row| {
        row.measured
            .as_ref()
            .is_some_and(|m| m.ln_ppl_ratio.value <= ERRORS * m.ln_ppl_ratio.error)
    };
    files.iter().find(equal).copied()
}

/// Bytes that a GPU needs to hold a model as a whole with the cache for [`CONTEXT`] tokens, as `quantsmith fit` counts them:
/// of its keys and tensors alone. `None` where they do not tell.
pub fn needed(model: &gguf::GgufModel) -> Option<u64> {
    let settings = Settings::default().context(CONTEXT);
    let tensors = model.tensors().map(|t| t.info);
    let memory = estimate(model.metadata(), tensors, &settings).ok()?;
    Some(memory.on_gpu(memory.gpu_layers()).total())
}
