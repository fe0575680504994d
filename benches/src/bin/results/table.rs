//! The table pass over a whole model beside single runs of stock.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::options::Options;
use crate::process::run;
use crate::programs::{quantsmith, stock};

/// The memory bound of the table pass.
const BOUND: &str = "256MiB";

/// Measures the table pass over a model.
pub(crate) fn table(options: &Options) -> Result<String> {
    let (model, imatrix) = options.inputs()?;
    let dir = oracle::scratch()?;
    let weights: u64 = gguf::GgufModel::open(&model)?
        .tensors()
        .map(|t| t.info.elements())
        .sum();
    let threads = options.threads.to_string();
    let ours = run(quantsmith()?
        .args([
            "table",
            "--no-eval",
            "--max-memory",
            BOUND,
            "--threads",
            &threads,
            "--imatrix",
        ])
        .arg(&imatrix)
        .arg(&model)
        .arg("--out")
        .arg(dir.path().join("table")))?;
    let q8 = dir.path().join("q8.gguf");
    let alone = run(quantsmith()?
        .arg("quantize")
        .arg(&model)
        .arg(&q8)
        .args(["Q8_0", &threads]))?;
    let bytes = std::fs::read(&q8)?;
    let start = Instant::now();
    let copy = std::fs::File::create(dir.path().join("copy"))?;
    std::io::Write::write_all(&mut &copy, &bytes)?;
    copy.sync_all()?;
    let copied = start.elapsed().as_secs_f64();
    let mut text = format!(
        "## Whole files\n\n{:.0} million weights in half precision, in the page cache; {threads} threads.\n\n| what \
         | seconds |\n|---|---|\n| the table of 22 files in one pass, bound {BOUND}, synced | {:.1} |\n\
         | its peak of anonymous memory | {:.0} MiB |\n| `quantize` Q8_0, synced | {:.2} |\n| writing and syncing \
         as many bytes alone | {copied:.2} |\n",
        weights as f64 / 1e6,
        ours.wall,
        ours.anonymous as f64 / f64::from(1 << 20),
        alone.wall,
    );
    if options.stock {
        let out = dir.path().join("stock.gguf");
        let mut seconds = BTreeMap::new();
        let mut total = 0.0;
        for line in convert::table::published() {
            let name = line.preset.name();
            if !seconds.contains_key(name) {
                let args = [
                    "quantize",
                    model.to_str().context("a path in UTF-8")?,
                    out.to_str().context("a path in UTF-8")?,
                    name,
                    "--threads",
                    &threads,
                    "--imatrix",
                    imatrix.to_str().context("a path in UTF-8")?,
                ];
                let answer = stock(&args)?;
                let found = answer
                    .split("seconds=")
                    .nth(1)
                    .and_then(|s| s.trim().parse::<f64>().ok());
                seconds.insert(name, found.context("no time")?);
            }
            total += seconds[name];
        }
        write!(
            text,
            "| 22 runs of stock (aliases counted again), not synced | {total:.1} |\n\nThe table is {:.1} times as fast \
             (target 12). Stock's runs: ",
            total / ours.wall
        )?;
        let each: Vec<_> = seconds.iter().map(|(name, s)| format!("{name} {s:.1}")).collect();
        writeln!(text, "{}.", each.join(", "))?;
    }
    Ok(text)
}
