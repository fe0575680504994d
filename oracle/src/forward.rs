//! Comparing our forward pass on a converted directory with what another program computed of it.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::hf::{HfOptions, HfSource, OutType};
use reference::Model;

use crate::architectures::has_dense_modules;

/// Largest distance of logits, relative to their root mean square, that counts as equal.
const TOLERANCE: f64 = 1e-3;
/// Tokens of the text.
const TOKENS: usize = 12;

/// The class of a model directory.
///
/// # Errors
/// No configuration.
pub fn class(model: &Path) -> Result<String> {
    let text = std::fs::read_to_string(model.join("config.json"))?;
    // Python writes infinities as they are not in JSON.
    let config: serde_json::Value =
        serde_json::from_str(&text.replace(": Infinity", ": 0").replace(" Infinity", " 0"))?;
    let named = [&config["architectures"], &config["text_config"]["architectures"]];
    let class = named.iter().find_map(|list| list[0].as_str());
    Ok(class.unwrap_or("?").to_owned())
}

/// The numbers that a script of `py`, given a model, windows of tokens and a file for its result, computes of them, and
/// what it prints. `more` are further arguments. Files go to `dir`.
///
/// # Errors
/// The script's.
pub fn of_windows(
    script: &str,
    (dir, model): (&Path, &Path),
    windows: &[impl AsRef<[u32]>],
    more: &[&str],
) -> Result<(Vec<f32>, String)> {
    let python = crate::python().context("no references")?;
    let (list, out) = (dir.join("windows.json"), dir.join("numbers"));
    let windows: Vec<&[u32]> = windows.iter().map(AsRef::as_ref).collect();
    std::fs::write(&list, serde_json::to_string(&windows)?)?;
    let mut arguments = vec![model.as_os_str(), list.as_os_str(), out.as_os_str()];
    arguments.extend(more.iter().map(std::ffi::OsStr::new));
    let said = python.run(script, arguments)?;
    let bytes = std::fs::read(&out)?;
    let numbers = bytes.as_chunks().0.iter();
    Ok((numbers.map(|b| f32::from_le_bytes(*b)).collect(), said))
}

/// The mean negative log likelihood, in nats, that stock llama.cpp finds of the second halves of windows in f32.
///
/// # Errors
/// Its own.
pub fn stock_likelihood(dir: &Path, model: &Path, windows: &[impl AsRef<[u32]>]) -> Result<f64> {
    let (_, said) = of_windows("stock_f32.py", (dir, model), windows, &[])?;
    Ok(said.trim().parse()?)
}

/// Distance of numbers from the expected ones, relative to the root mean square of these. The lowest number that there is
/// stands for tokens that are never predicted: such ones have to be the same, and count no further.
pub fn apart(got: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let (mut difference, mut size) = (0f64, 0f64);
    for (a, b) in got.iter().zip(expected) {
        match *a == f32::MIN || *b == f32::MIN {
            true if a == b => {}
            true => return f64::INFINITY,
            false => {
                difference += square(f64::from(*a) - f64::from(*b));
                size += square(f64::from(*b));
            }
        }
    }
    (difference / size).sqrt()
}

/// Distance of our logits of a model directory, or our embedding, from those in the folder `expected` (a file `logits`
/// or `embedding`, as `py/architectures.py` writes them), where there are some.
///
/// # Errors
/// A model that cannot be run, or numbers that are too far away.
pub fn distance(expected: &Path, model: &Path) -> Result<Option<f64>> {
    let embedding = expected.join("embedding").is_file();
    let expected = expected.join(if embedding { "embedding" } else { "logits" });
    if !expected.is_file() {
        return Ok(None);
    }
    let options = HfOptions::default()
        .outtype(OutType::F32)
        .sentence_modules(has_dense_modules(model));
    let source = HfSource::open(model, &options)?;
    let temporary = tempfile::tempdir()?;
    let ours = temporary.path().join("ours.gguf");
    let plan = OutputPlan::unquantized(&ours, &source, Vec::new())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {})?;
    let model = Model::load(&ours)?;
    let bytes = std::fs::read(&expected)?;
    let words = bytes.as_chunks().0.iter();
    let expected: Vec<f32> = words.map(|b| f32::from_le_bytes(*b)).collect();
    let tokens: Vec<u32> = (0..TOKENS as u32).map(|i| (i * 29 + i * i * 7) % 300).collect();
    let logits = match embedding {
        true => model.embed(&[&tokens])?.concat(),
        false => model.forward(&[&tokens], 0..TOKENS, None)?.data,
    };
    ensure!(
        logits.len() == expected.len(),
        "{} numbers, {} expected",
        logits.len(),
        expected.len()
    );
    let distance = apart(&logits, &expected);
    if distance.is_nan() || distance > TOLERANCE {
        bail!("logits are {distance:.2e} from the expected ones, at most {TOLERANCE:.0e} allowed");
    }
    Ok(Some(distance))
}
