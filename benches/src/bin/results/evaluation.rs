//! The evaluation of a table: all files side by side with the unquantized model.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use benches::processor_seconds;
use reference::divergence::compare;
use reference::{Model, PerplexityOptions, Rounding, Tokenizer};

use crate::options::Options;
use crate::perplexity::text as evaluation_text;
use crate::process::{Times, run};
use crate::programs::quantsmith;

/// Windows of 512.
const WINDOWS: usize = 24;

/// Seconds that the table of the demo model may take.
const DEMO: f64 = 40.0;

/// Measures both roundings, and a whole table of the demo model.
pub(crate) fn evaluation(options: &Options) -> Result<String> {
    let (model, imatrix) = options.inputs()?;
    let dir = oracle::scratch()?;
    let folder = dir.path().join("table");
    let threads = options.threads.to_string();
    run(quantsmith()?
        .args(["table", "--no-eval", "--imatrix"])
        .arg(&imatrix)
        .arg(&model)
        .arg("--out")
        .arg(&folder))?;
    let files = distinct(&folder)?;
    let windows = if options.quick { 8 } else { WINDOWS };
    let mut text = format!(
        "## Evaluation\n\nThe files of the table of 22 of the testbed ({} distinct ones) side by side with it, {windows} \
         windows of 512, KL divergence included; {threads} threads, all in this process.\n\n| rounding | seconds | of \
         processor time |\n|---|---|---|\n",
        files.len()
    );
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()?;
    let mut times = Vec::new();
    for (rounding, name) in [(Rounding::LlamaCpp, "llama.cpp"), (Rounding::None, "none")] {
        let took = pool.install(|| measure(&model, &files, windows, rounding))?;
        writeln!(text, "| {name} | {:.1} | {:.1} |", took.wall, took.user)?;
        times.push(took);
    }
    writeln!(
        text,
        "\nRounding as llama.cpp does is {:.2} times as fast as f32 throughout, which is all there was before products were \
         of integers ({:.2} by wall time; target 3).",
        times[1].user / times[0].user,
        times[1].wall / times[0].wall
    )?;
    let demo = run(quantsmith()?
        .arg("table")
        .args(["--threads", &threads, "--out"])
        .arg(dir.path().join("demo")))?;
    writeln!(
        text,
        "\n`table` of the demo model, calibration and evaluation included: {:.1} seconds, {:.1} of processor time (target \
         {DEMO} on two cores).",
        demo.wall, demo.user
    )?;
    Ok(text)
}

/// The models in a folder, of those with the same content one.
fn distinct(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "gguf"));
    files.sort();
    let mut digests = Vec::new();
    let mut kept = Vec::new();
    for file in files {
        let digest = convert::digest::file_sha256(&file)?;
        if !digests.contains(&digest) {
            digests.push(digest);
            kept.push(file);
        }
    }
    Ok(kept)
}

fn measure(base: &Path, files: &[PathBuf], windows: usize, rounding: Rounding) -> Result<Times> {
    let (begun, before) = (Instant::now(), processor_seconds());
    let base = Model::load(base)?.with_rounding(rounding);
    let models = files
        .iter()
        .map(|file| Ok(Model::load(file)?.with_rounding(rounding)))
        .collect::<Result<Vec<_>>>()?;
    let tokenizer = Tokenizer::from_metadata(base.gguf().metadata())?;
    let tokens = tokenizer.encode(std::fs::read_to_string(evaluation_text())?, true, false);
    let options = PerplexityOptions::default()
        .chunks(Some(windows))
        .bos(tokenizer.bos().filter(|_| tokenizer.add_bos()));
    compare(&base, &models, &tokens, &options, &mut |_| {})?;
    Ok(Times {
        wall: begun.elapsed().as_secs_f64(),
        user: processor_seconds() - before,
    })
}
