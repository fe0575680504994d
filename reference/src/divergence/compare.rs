//! Running models side by side over a text, window by window, so that no logits have to be stored.

use std::path::Path;

use rayon::prelude::*;

use super::{LogitsReader, LogitsWriter, Observation};
use crate::perplexity::{PerplexityOptions, Windows};
use crate::{Error, Model, Result};

/// How far a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareProgress {
    /// Windows that every model has run.
    pub windows: usize,
    /// Windows in all.
    pub of: usize,
}

/// Compares models with `base` on a text's token ids: the observations of every scored position, model by
/// model, in the order of the text. The base model runs once over each window, whatever the number of models.
///
/// # Errors
/// When a vocabulary differs from the base model's, the text has fewer tokens than two windows, logits are not
/// finite, or weights cannot be read.
pub fn compare(
    base: &Model,
    measured: &[Model],
    tokens: &[u32],
    options: &PerplexityOptions,
    progress: &mut dyn FnMut(CompareProgress),
) -> Result<Vec<Vec<Observation>>> {
    for model in measured {
        if model.vocabulary() != base.vocabulary() {
            return Err(model.error(format!(
                "a vocabulary of {} tokens cannot be compared with the base model's {}",
                model.vocabulary(),
                base.vocabulary()
            )));
        }
    }
    let windows = Windows::new(tokens, options)?;
    let at_once = windows_at_once(base, &windows, options)?;
    let mut seen = vec![Vec::with_capacity(windows.count * windows.scored()); measured.len()];
    let mut done = 0;
    while done < windows.count {
        let batch = windows.batch(done..windows.count.min(done + at_once));
        let views: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        let targets: Vec<u32> = batch
            .iter()
            .flat_map(|w| w[windows.first() + 1..].iter().copied())
            .collect();
        let wanted = windows.first()..options.context - 1;
        let base_logits = base.forward(&views, wanted.clone(), None)?;
        for (model, seen) in measured.iter().zip(&mut seen) {
            let logits = model.forward(&views, wanted.clone(), None)?;
            let rows: Option<Vec<Observation>> = targets
                .par_iter()
                .enumerate()
                .map(|(i, &t)| Observation::from_logits(base_logits.row(i), logits.row(i), t as usize))
                .collect();
            let Some(rows) = rows else {
                return Err(model.error("a token of the text is outside the vocabulary".into()));
            };
            if let Some(at) = rows.iter().position(|o| !o.kld.is_finite() || !o.nll.is_finite()) {
                let window = done + at / windows.scored();
                return Err(model.error(format!("window {window}: the predictions are not finite")));
            }
            seen.extend(rows);
        }
        done += batch.len();
        progress(CompareProgress {
            windows: done,
            of: windows.count,
        });
    }
    Ok(seen)
}

/// How many windows fit in memory with both models' logits.
fn windows_at_once(base: &Model, windows: &Windows<'_>, options: &PerplexityOptions) -> Result<usize> {
    let run = crate::perplexity::windows_at_once(base, options.context, options.max_memory)?;
    let logits =
        (2 * windows.scored() as u64).saturating_mul(base.vocabulary() as u64 * size_of::<f32>() as u64);
    match options.max_memory / logits.max(1) {
        0 => Err(Error::Text(format!(
            "the logits of one window of {} tokens need {logits} bytes of memory, more than the bound of {}",
            options.context, options.max_memory
        ))),
        fit => Ok(run.min(usize::try_from(fit).unwrap_or(usize::MAX))),
    }
}

/// Compares a model with the base model whose logits a file holds: the observations of every scored position.
/// The tokens and the context are the file's; of `options` the beginning-of-sequence token, the number of
/// windows and the memory count.
///
/// # Errors
/// When the vocabularies differ, logits are not finite, or the file or weights cannot be read.
pub fn compare_with_file(
    base: &mut LogitsReader,
    model: &Model,
    options: &PerplexityOptions,
    progress: &mut dyn FnMut(CompareProgress),
) -> Result<Vec<Observation>> {
    if base.vocabulary() != model.vocabulary() {
        return Err(model.error(format!(
            "a vocabulary of {} tokens cannot be compared with the logits file's {}",
            model.vocabulary(),
            base.vocabulary()
        )));
    }
    let options = PerplexityOptions {
        context: base.context(),
        ..options.clone()
    };
    let tokens = base.tokens().to_vec();
    // A file of one window is fine here; a text that short is not.
    let windows = Windows::whole(&tokens, &options)?;
    let mut seen = Vec::with_capacity(windows.count * windows.scored());
    for done in 0..windows.count {
        let batch = windows.batch(done..done + 1);
        let logits = model.forward(&[&batch[0]], windows.first()..options.context - 1, None)?;
        let targets = &batch[0][windows.first() + 1..];
        let rows = base.next_window()?;
        let observed: Option<Vec<Observation>> = rows
            .par_iter()
            .zip(targets)
            .enumerate()
            .map(|(i, (row, &t))| Observation::from_compressed(row, logits.row(i), t as usize))
            .collect();
        let Some(observed) = observed else {
            return Err(model.error("a token of the logits file is outside the vocabulary".into()));
        };
        if observed.iter().any(|o| !o.kld.is_finite() || !o.nll.is_finite()) {
            return Err(model.error(format!("window {done}: the predictions are not finite")));
        }
        seen.extend(observed);
        progress(CompareProgress {
            windows: done + 1,
            of: windows.count,
        });
    }
    Ok(seen)
}

/// Writes the logits of every scored position of a text to a file that [`compare_with_file`] and llama.cpp's
/// perplexity tool read.
///
/// # Errors
/// When the text has fewer tokens than two windows, the file cannot be written, or weights cannot be read.
pub fn save_logits(
    model: &Model,
    tokens: &[u32],
    options: &PerplexityOptions,
    path: &Path,
    progress: &mut dyn FnMut(CompareProgress),
) -> Result<()> {
    let windows = Windows::new(tokens, options)?;
    let whole = &tokens[..windows.count * options.context];
    let mut writer = LogitsWriter::create(path, options.context, model.vocabulary(), whole)?;
    for done in 0..windows.count {
        let batch = windows.batch(done..done + 1);
        let logits = model.forward(&[&batch[0]], windows.first()..options.context - 1, None)?;
        for row in 0..logits.rows {
            writer.push(logits.row(row))?;
        }
        progress(CompareProgress {
            windows: done + 1,
            of: windows.count,
        });
    }
    writer.finish()
}
