//! KL divergence by both roundings beside stock's.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use reference::divergence::{Statistics, compare};
use reference::{Model, PerplexityOptions, Rounding, Tokenizer};

use crate::options::Options;
use crate::perplexity::text as evaluation_text;
use crate::programs::stock;

/// Presets, each with its windows of 512. What Q8_0 loses is mostly the rounding of activations, whose part in the mean is
/// chance over few windows: over 16, ours was 2.0 % above stock's, over 64 0.3 %.
const PRESETS: [(&str, usize); 4] = [("Q8_0", 64), ("Q4_K_M", 16), ("IQ3_S", 16), ("Q2_K", 16)];

/// How far ours may be from stock's.
const TARGET: f64 = 0.01;

/// Compares all presets.
pub(crate) fn agreement(options: &Options) -> Result<String> {
    let dir = oracle::scratch()?;
    let presets = PRESETS
        .into_iter()
        .filter(|(preset, _)| options.wants(preset))
        .map(|(preset, windows)| (preset, if options.quick { 2 } else { windows }));
    let most = presets.clone().map(|(_, windows)| windows).max();
    let threads = options.threads.to_string();
    let (model, _) = options.inputs()?;
    let words = evaluation_text();
    let logits = dir.path().join("logits.npy");
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let (model_name, words_name, logits_name) = (path(&model)?, path(&words)?, path(&logits)?);
    let over = |windows: usize, args: [&str; 5]| {
        let windows = windows.to_string();
        let common = ["-c", "512", "--threads", &threads, "--chunks", &windows];
        stock(&[&args[..], &common].concat())
    };
    // Where no preset is wanted, nothing runs: stock takes no windows for all that the text has.
    if let Some(most) = most {
        over(
            most,
            ["ppl", &model_name, &words_name, "--save-logits", &logits_name],
        )?;
    }
    let mut text = format!(
        "## Agreement\n\nMean KL divergence from the unquantized model over windows of 512: of stock's library, and of ours by \
         both roundings (target: within {:.0} % of stock's).\n\n| model | windows | stock | `--rounding llama.cpp` | | \
         `--rounding none` | | |\n|---|---|---|---|---|---|---|---|\n",
        100.0 * TARGET
    );
    for (preset, windows) in presets {
        let file = options.in_preset(preset, dir.path())?;
        let name = path(&file)?;
        let answer = over(windows, ["kld", &name, &words_name, "--base", &logits_name])?;
        let theirs: f64 = answer
            .split("mean_kld=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .with_context(|| format!("no divergence in {answer:?}"))?;
        let [rounded, plain] =
            [Rounding::LlamaCpp, Rounding::None].map(|rounding| kld(&model, &file, windows, rounding));
        let (rounded, plain) = (rounded?, plain?);
        let percent = |ours: f64| 100.0 * (ours / theirs - 1.0);
        writeln!(
            text,
            "| {preset} | {windows} | {theirs:.6} | {rounded:.6} | {:+.2} % | {plain:.6} | {:+.2} % | {} |",
            percent(rounded),
            percent(plain),
            if (rounded / theirs - 1.0).abs() <= TARGET {
                "✓"
            } else {
                "off"
            }
        )?;
    }
    Ok(text)
}

fn kld(base: &Path, file: &Path, windows: usize, rounding: Rounding) -> Result<f64> {
    let base = Model::load(base)?.with_rounding(rounding);
    let model = Model::load(file)?.with_rounding(rounding);
    let tokenizer = Tokenizer::from_metadata(base.gguf().metadata())?;
    let tokens = tokenizer.encode(std::fs::read_to_string(evaluation_text())?, true, false);
    let options = PerplexityOptions::default()
        .chunks(Some(windows))
        .bos(tokenizer.bos().filter(|_| tokenizer.add_bos()));
    let seen = compare(&base, &[model], &tokens, &options, &mut |_| {})?;
    let seen = seen
        .first()
        .and_then(|seen| Statistics::of(seen))
        .context("nothing observed")?;
    Ok(seen.kld.value)
}
