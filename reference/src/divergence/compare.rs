//! Running models side by side over a text, window by window, so that no logits have to be stored.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use super::predictions::{Comparison, Predictions};
use super::{Estimate, LogitsReader, LogitsWriter, Observation};
use crate::perplexity::{PerplexityOptions, Windows};
use crate::{Error, Model, Result};

/// Progress of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    compare_until(base, measured, tokens, options, None, progress)
}

/// [`compare`], but with a `precision` a model runs no more windows once the ratios of its divergence to those of
/// its neighbours in `measured` are known with a smaller relative error. So models may have observations of
/// different numbers of windows, all of them from the beginning of the text.
///
/// # Errors
/// As [`compare`].
pub fn compare_until(
    base: &Model,
    measured: &[Model],
    tokens: &[u32],
    options: &PerplexityOptions,
    precision: Option<f64>,
    progress: &mut dyn FnMut(CompareProgress),
) -> Result<Vec<Vec<Observation>>> {
    compare_noting(base, measured, tokens, options, precision, &mut Unnoted, progress)
}

/// Observations that outlive a comparison, such as [`super::Journal`].
pub trait Notes {
    /// The observations of `windows` by model `model` that an earlier run noted, all of them or `None`.
    fn known(&mut self, model: usize, windows: Range<usize>) -> Option<Vec<Observation>>;

    /// Notes what a model has made of these windows.
    ///
    /// # Errors
    /// When they cannot be kept; the comparison ends with it.
    fn note(&mut self, model: usize, windows: Range<usize>, seen: &[Observation]) -> Result<()>;
}

/// Notes of nothing.
struct Unnoted;

impl Notes for Unnoted {
    fn known(&mut self, _: usize, _: Range<usize>) -> Option<Vec<Observation>> {
        None
    }

    fn note(&mut self, _: usize, _: Range<usize>, _: &[Observation]) -> Result<()> {
        Ok(())
    }
}

/// [`compare_until`], with notes of what each model has made of which windows: a run that is continued with them runs
/// no model over windows that are noted, the base model included where all are, and comes to the same result.
///
/// # Errors
/// As [`compare`], and notes that cannot be kept.
pub fn compare_noting(
    base: &Model,
    measured: &[Model],
    tokens: &[u32],
    options: &PerplexityOptions,
    precision: Option<f64>,
    notes: &mut dyn Notes,
    progress: &mut dyn FnMut(CompareProgress),
) -> Result<Vec<Vec<Observation>>> {
    check_vocabularies(base, measured.iter())?;
    let windows = Windows::new(tokens, options)?;
    let at_once = windows_at_once(base, &windows, options)?;
    let mut seen = vec![Vec::with_capacity(windows.count * windows.scored()); measured.len()];
    let mut open = vec![true; measured.len()];
    let mut done = 0;
    while done < windows.count && (open.contains(&true) || measured.is_empty()) {
        let range = done..windows.count.min(done + at_once);
        let models: Vec<(usize, &Model)> = measured.iter().enumerate().filter(|m| open[m.0]).collect();
        let rows = run_windows(base, &models, &windows, range.clone(), options, notes)?;
        for ((index, _), rows) in models.into_iter().zip(rows) {
            seen[index].extend(rows);
        }
        done = range.end;
        if let Some(precision) = precision {
            for (index, open) in open.iter_mut().enumerate() {
                *open &= !is_decided(&seen, index, precision);
            }
        }
        progress(CompareProgress {
            windows: done,
            of: windows.count,
        });
    }
    Ok(seen)
}

/// Runs `base` and `measured` over some windows of a text, and notes what each makes of them: a part of [`compare`]. The
/// models have the numbers by which `notes` knows them. What is noted is not run again; a window's observations do not
/// depend on the windows that run with it.
///
/// # Errors
/// As [`compare`], windows that there are not, and notes that cannot be kept.
pub fn compare_windows(
    base: &Model,
    measured: &[(usize, &Model)],
    tokens: &[u32],
    options: &PerplexityOptions,
    wanted: Range<usize>,
    notes: &mut dyn Notes,
    progress: &mut dyn FnMut(CompareProgress),
) -> Result<()> {
    check_vocabularies(base, measured.iter().map(|(_, model)| *model))?;
    let windows = Windows::new(tokens, options)?;
    if wanted.end > windows.count {
        return Err(Error::Text(format!(
            "expected windows of the text's {}, found {} to {}",
            windows.count, wanted.start, wanted.end
        )));
    }
    let at_once = windows_at_once(base, &windows, options)?;
    let mut done = wanted.start;
    while done < wanted.end && !measured.is_empty() {
        let range = done..wanted.end.min(done + at_once);
        done = range.end;
        run_windows(base, measured, &windows, range, options, notes)?;
        progress(CompareProgress {
            windows: done - wanted.start,
            of: wanted.len(),
        });
    }
    Ok(())
}

fn check_vocabularies<'a>(base: &Model, measured: impl Iterator<Item = &'a Model>) -> Result<()> {
    for model in measured {
        if model.vocabulary() != base.vocabulary() {
            return Err(model.error(format!(
                "expected a vocabulary of {} tokens, as the base model's, found {}",
                base.vocabulary(),
                model.vocabulary()
            )));
        }
    }
    Ok(())
}

/// The observations of some windows by each of these models: those that are noted, and the others, which it notes. The base
/// model runs where any is missing, and where there are no models.
fn run_windows(
    base: &Model,
    models: &[(usize, &Model)],
    windows: &Windows<'_>,
    range: Range<usize>,
    options: &PerplexityOptions,
    notes: &mut dyn Notes,
) -> Result<Vec<Vec<Observation>>> {
    let known: Vec<Option<Vec<Observation>>> = models
        .iter()
        .map(|(index, _)| notes.known(*index, range.clone()))
        .collect();
    let batch = (known.iter().any(Option::is_none) || models.is_empty())
        .then(|| Batch::of_base(base, windows, range.clone(), options))
        .transpose()?;
    let mut seen = Vec::with_capacity(models.len());
    for ((index, model), known) in models.iter().zip(known) {
        seen.push(match (known, &batch) {
            (Some(rows), _) => rows,
            (None, Some(batch)) => {
                let rows = batch.observe(model, windows, range.start)?;
                notes.note(*index, range.clone(), &rows)?;
                rows
            }
            (None, None) => Vec::new(),
        });
    }
    Ok(seen)
}

/// Windows that run at once, with the base model's predictions.
struct Batch {
    windows: Vec<Vec<u32>>,
    wanted: Range<usize>,
    predictions: Predictions,
}

impl Batch {
    fn of_base(
        base: &Model,
        windows: &Windows<'_>,
        range: Range<usize>,
        options: &PerplexityOptions,
    ) -> Result<Self> {
        let batch = windows.batch(range);
        let targets: Vec<u32> = batch
            .iter()
            .flat_map(|w| w[windows.first() + 1..].iter().copied())
            .collect();
        let wanted = windows.first()..options.context - 1;
        if let Some(&target) = targets.iter().find(|&&t| t as usize >= base.vocabulary()) {
            return Err(base.error(format!(
                "expected tokens below {}, the size of the vocabulary, found {target}",
                base.vocabulary()
            )));
        }
        base.expect_predicted(targets.iter().copied())?;
        let views: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        let mut predictions = Predictions::new(&targets, base.vocabulary());
        base.forward_tiles(&views, wanted.clone(), None, &mut predictions)?;
        predictions.finish();
        Ok(Self {
            windows: batch,
            wanted,
            predictions,
        })
    }

    fn observe(&self, model: &Model, windows: &Windows<'_>, first: usize) -> Result<Vec<Observation>> {
        let views: Vec<&[u32]> = self.windows.iter().map(Vec::as_slice).collect();
        let mut comparison = Comparison::new(&self.predictions);
        model.forward_tiles(&views, self.wanted.clone(), None, &mut comparison)?;
        let rows = comparison.observations();
        if let Some(at) = rows.iter().position(|o| !o.kld.is_finite() || !o.nll.is_finite()) {
            let window = first + at / windows.scored();
            return Err(model.error(format!(
                "window {window}: expected finite predictions, found others"
            )));
        }
        Ok(rows)
    }
}

/// Whether the ratios of a model's divergence to its neighbours' are known to a relative error below `precision`.
fn is_decided(seen: &[Vec<Observation>], index: usize, precision: f64) -> bool {
    let neighbours = [index.checked_sub(1), Some(index + 1).filter(|&i| i < seen.len())];
    neighbours
        .into_iter()
        .flatten()
        .all(|other| ratio_error(&seen[index], &seen[other]) < precision)
}

/// The ratio of two models' mean divergences, over the positions that both have; `None` where there is none. The models
/// are paired position by position: most of what makes one position diverge more than another does so for both, and
/// cancels.
pub fn kld_ratio(a: &[Observation], b: &[Observation]) -> Option<Estimate> {
    let pairs = || a.iter().zip(b).map(|(a, b)| (a.kld, b.kld));
    let count = a.len().min(b.len()) as f64;
    let (sum_a, sum_b) = pairs().fold((0.0, 0.0), |sums, (a, b)| (sums.0 + a, sums.1 + b));
    let (mean_a, mean_b) = (sum_a / count, sum_b / count);
    let differences = pairs().map(|(a, b)| a / mean_a - b / mean_b);
    let variance = differences.map(|d| d * d).sum::<f64>() / (count - 1.0);
    let relative = (variance / count).sqrt();
    let value = mean_a / mean_b;
    (relative.is_finite() && value.is_finite()).then(|| Estimate {
        value,
        error: value.abs() * relative,
    })
}

/// The relative standard error of [`kld_ratio`].
fn ratio_error(a: &[Observation], b: &[Observation]) -> f64 {
    // Without observations or divergence there is no ratio to be sure of.
    kld_ratio(a, b).map_or(f64::INFINITY, |ratio| ratio.error / ratio.value.abs())
}

/// Number of windows that fit in memory with the base model's logits and probabilities.
fn windows_at_once(base: &Model, windows: &Windows<'_>, options: &PerplexityOptions) -> Result<usize> {
    let run = crate::perplexity::windows_at_once(base, options.context, options.max_memory)?;
    let logits =
        (2 * windows.scored() as u64).saturating_mul(base.vocabulary() as u64 * size_of::<f32>() as u64);
    match options.max_memory / logits.max(1) {
        0 => Err(Error::Text(format!(
            "expected at least {logits} bytes of memory for the logits of one window of {} tokens, found a bound of {}",
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
            "expected a vocabulary of {} tokens, as the logits file's, found {}",
            base.vocabulary(),
            model.vocabulary()
        )));
    }
    let options = PerplexityOptions {
        context: base.context(),
        ..options.clone()
    };
    let tokens = base.tokens().to_vec();
    // A file of one window is fine here; a text that short is not.
    let windows = Windows::whole(&tokens, &options)?;
    let at_once = windows_at_once(model, &windows, &options)?;
    let mut seen = Vec::with_capacity(windows.count * windows.scored());
    let mut done = 0;
    while done < windows.count {
        let batch = windows.batch(done..windows.count.min(done + at_once));
        let views: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        let logits = model.forward(&views, windows.first()..options.context - 1, None)?;
        for (offset, window) in batch.iter().enumerate() {
            let targets = &window[windows.first() + 1..];
            let rows = base.next_window()?;
            let observed: Option<Vec<Observation>> = rows
                .par_iter()
                .zip(targets)
                .enumerate()
                .map(|(i, (row, &t))| {
                    let measured = logits.row(offset * windows.scored() + i);
                    Observation::from_compressed(row, measured, t as usize)
                })
                .collect();
            let Some(observed) = observed else {
                return Err(
                    model.error("expected tokens of the vocabulary in the logits file, found another".into())
                );
            };
            if observed.iter().any(|o| !o.kld.is_finite() || !o.nll.is_finite()) {
                return Err(model.error(format!(
                    "window {}: expected finite predictions, found others",
                    done + offset
                )));
            }
            seen.extend(observed);
        }
        done += batch.len();
        progress(CompareProgress {
            windows: done,
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
    let at_once = windows_at_once(model, &windows, options)?;
    let mut done = 0;
    while done < windows.count {
        let batch = windows.batch(done..windows.count.min(done + at_once));
        let views: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        let logits = model.forward(&views, windows.first()..options.context - 1, None)?;
        for row in 0..logits.rows {
            writer.push(logits.row(row))?;
        }
        done += batch.len();
        progress(CompareProgress {
            windows: done,
            of: windows.count,
        });
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(klds: impl Iterator<Item = f64>) -> Vec<Observation> {
        klds.map(|kld| Observation {
            nll: 1.0,
            nll_base: 1.0,
            kld,
            delta_p: 0.0,
            same_top: true,
            right: true,
            right_base: true,
        })
        .collect()
    }

    #[test]
    fn what_two_models_share_cancels_in_the_error_of_their_ratio() {
        let shared = |i: u32| f64::from(i * 37 % 101) / 50.0;
        let a = observed((0..500).map(shared));
        let twice = observed((0..500).map(|i| 2.0 * shared(i)));
        let other = observed((0..500).map(|i| shared(i * 53 + 7)));
        assert!(ratio_error(&a, &twice) < 1e-12);
        // Independent positions: the errors of both means, each about 0.58 / sqrt(500).
        let error = ratio_error(&a, &other);
        assert!((0.02..0.06).contains(&error), "{error}");
        let seen = [a, twice, other];
        assert!(is_decided(&seen, 0, 0.01));
        assert!(!is_decided(&seen, 1, 0.01) && is_decided(&seen, 1, 0.1));
        let none = [observed(std::iter::empty()), observed(std::iter::empty())];
        assert!(!is_decided(&none, 0, 1.0));
        let equal = [observed([0.0; 5].into_iter()), observed([0.0; 5].into_iter())];
        assert!(!is_decided(&equal, 0, 1.0));
    }
}
