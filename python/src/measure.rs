//! Measures of a model: perplexity, KL divergence, importance, and checks of its file.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use quantsmith::convert::verify as checks;
use quantsmith::gguf::GgufModel;
use quantsmith::imatrix::Accumulator;
use quantsmith::reference::calibration::{Calibration, collect};
use quantsmith::reference::divergence::{self, Estimate, Statistics};
use quantsmith::reference::{self, Model, PerplexityOptions, Rounding};

use crate::cancel;
use crate::errors::{QuantsmithError, RequestError};

/// A model and the ids of a text under its own tokenizer.
fn load(
    model: &std::path::Path,
    text: &str,
    parse_special: bool,
) -> reference::Result<(Model, Vec<u32>, Option<u32>)> {
    let model = Model::load(model)?;
    let tokenizer = reference::Tokenizer::from_metadata(model.gguf().metadata())?;
    let tokens = tokenizer.encode(text, true, parse_special);
    let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
    Ok((model, tokens, bos))
}

fn options(
    context: usize,
    chunks: Option<usize>,
    bos: Option<u32>,
    max_memory: Option<u64>,
) -> PerplexityOptions {
    let defaults = PerplexityOptions::default();
    PerplexityOptions::default()
        .context(context)
        .chunks(chunks)
        .bos(bos)
        .max_memory(max_memory.unwrap_or(defaults.max_memory))
}

/// Rounding of a forward pass besides the weights, by the command's names.
fn rounding(name: &str) -> PyResult<Rounding> {
    match name {
        "none" => Ok(Rounding::None),
        "llama.cpp" => Ok(Rounding::LlamaCpp),
        _ => Err(RequestError::new_err(format!(
            "rounding {name:?} is unknown, expected \"llama.cpp\" or \"none\""
        ))),
    }
}

/// Perplexity of a text, as llama-perplexity defines it: windows of `context` tokens, the second half of each scored.
/// `rounding` is what is rounded besides the weights: as llama.cpp's CPU backend does, or "none".
/// Returns a dict: ppl, ppl_error, nll (nats), scored, text_tokens, running.
#[pyfunction]
#[pyo3(signature = (model, text, *, context = 512, chunks = None, rounding = "llama.cpp", max_memory = None,
    progress = None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments")]
pub(crate) fn perplexity<'py>(
    py: Python<'py>,
    model: PathBuf,
    text: String,
    context: usize,
    chunks: Option<usize>,
    rounding: &str,
    max_memory: Option<u64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let rounding = self::rounding(rounding)?;
    let report = cancel::run(py, progress, |watch| {
        let (model, tokens, bos) = load(&model, &text, false)?;
        let model = model.with_rounding(rounding);
        let options = options(context, chunks, bos, max_memory);
        reference::perplexity(&model, &tokens, &options, &mut |chunk| {
            watch.tick(chunk.index as u64 + 1, chunk.of as u64);
        })
    })?;
    let dict = PyDict::new(py);
    dict.set_item("ppl", report.ppl)?;
    dict.set_item("ppl_error", report.ppl_error)?;
    dict.set_item("nll", report.nll)?;
    dict.set_item("scored", report.scored)?;
    dict.set_item("text_tokens", report.text_tokens)?;
    dict.set_item("running", report.running)?;
    Ok(dict)
}

/// How far models are from a base model on a text, as llama-perplexity --kl-divergence reports it: a dict for each
/// model. Values with an error are pairs (value, standard error). All are run with this `rounding`,
/// as `perplexity` says.
#[pyfunction]
#[pyo3(signature = (base, models, text, *, context = 512, chunks = None, rounding = "llama.cpp", max_memory = None,
    progress = None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments")]
pub(crate) fn kl_divergence<'py>(
    py: Python<'py>,
    base: PathBuf,
    models: Vec<PathBuf>,
    text: String,
    context: usize,
    chunks: Option<usize>,
    rounding: &str,
    max_memory: Option<u64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let rounding = self::rounding(rounding)?;
    let seen = cancel::run(py, progress, |watch| {
        let (base, tokens, bos) = load(&base, &text, false)?;
        let base = base.with_rounding(rounding);
        let models = models
            .iter()
            .map(|m| Ok(Model::load(m)?.with_rounding(rounding)))
            .collect::<reference::Result<Vec<_>>>()?;
        let options = options(context, chunks, bos, max_memory);
        divergence::compare(&base, &models, &tokens, &options, &mut |p| {
            watch.tick(p.windows as u64, p.of as u64);
        })
    })?;
    seen.iter()
        .map(|observations| {
            let statistics = Statistics::of(observations)
                .ok_or_else(|| RequestError::new_err("the text is too short to score anything"))?;
            describe(py, &statistics)
        })
        .collect()
}

fn describe<'py>(py: Python<'py>, s: &Statistics) -> PyResult<Bound<'py, PyDict>> {
    let pair = |e: Estimate| (e.value, e.error);
    let dict = PyDict::new(py);
    dict.set_item("scored", s.count)?;
    dict.set_item("kld", pair(s.kld))?;
    for (name, fraction) in [
        ("kld_min", 0.0),
        ("kld_median", 0.5),
        ("kld_90", 0.9),
        ("kld_95", 0.95),
        ("kld_99", 0.99),
        ("kld_99_9", 0.999),
        ("kld_max", 1.0),
    ] {
        dict.set_item(name, s.kld_quantiles.at(fraction))?;
    }
    dict.set_item("same_top", pair(s.same_top))?;
    dict.set_item("delta_p", pair(s.delta_p))?;
    dict.set_item("delta_p_rms", pair(s.delta_p_rms))?;
    dict.set_item("ppl", pair(s.ppl))?;
    dict.set_item("ppl_base", pair(s.ppl_base))?;
    dict.set_item("ppl_ratio", pair(s.ppl_ratio))?;
    dict.set_item("ln_ppl_ratio", pair(s.ln_ppl_ratio))?;
    dict.set_item("ppl_difference", pair(s.ppl_difference))?;
    dict.set_item("correlation", s.correlation)?;
    let flips = PyDict::new(py);
    flips.set_item("lost", pair(s.flips.lost))?;
    flips.set_item("gained", pair(s.flips.gained))?;
    flips.set_item("all", pair(s.flips.all))?;
    dict.set_item("flips", flips)?;
    Ok(dict)
}

/// Collects an importance matrix of a GGUF model over a text, as llama-imatrix does, and writes it to `output`.
/// Returns the number of windows.
#[pyfunction]
#[pyo3(signature = (model, text, output, *, context = 512, chunks = None, process_output = false, dataset = "text",
    progress = None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments")]
pub(crate) fn imatrix(
    py: Python<'_>,
    model: PathBuf,
    text: String,
    output: PathBuf,
    context: u32,
    chunks: Option<usize>,
    process_output: bool,
    dataset: &str,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<u32> {
    cancel::run(py, progress, |watch| -> anyhow::Result<u32> {
        let (model, tokens, bos) = load(&model, &text, false)?;
        let mut calibration = Calibration::new(context as usize);
        calibration.chunks = chunks;
        calibration.bos = bos;
        calibration.process_output = process_output;
        let mut collected = Accumulator::new(context);
        collect(&model, &tokens, &calibration, &mut collected, 0, &mut |step| {
            watch.tick(step.done as u64, step.of as u64);
            anyhow::Ok(())
        })?;
        let mut matrix = collected.totals().clone();
        matrix.datasets = vec![dataset.to_owned()];
        matrix.save(&output)?;
        Ok(matrix.chunk_count)
    })
}

/// Checks a GGUF model: structure, sizes, padding, every block. Returns a list of (severity, subject, message), empty
/// when nothing is wrong.
#[pyfunction]
#[pyo3(signature = (path, *, progress = None))]
pub(crate) fn verify(
    py: Python<'_>,
    path: PathBuf,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<(String, String, String)>> {
    let findings = cancel::run(py, progress, |watch| {
        let model = GgufModel::open(&path)?;
        let total: u64 = model.tensors().map(|t| t.info.size_bytes()).sum();
        let seen = std::sync::atomic::AtomicU64::new(0);
        checks::check(&model, &|bytes| {
            let before = seen.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            watch.note(before + bytes, total);
        })
    })?;
    findings
        .into_iter()
        .map(|f| {
            let severity = serde_json::to_value(f.severity)
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned))
                .ok_or_else(|| QuantsmithError::new_err("a severity without a name"))?;
            Ok((severity, f.subject, f.message))
        })
        .collect()
}
