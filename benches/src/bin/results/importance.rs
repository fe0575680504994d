//! Calibration beside llama-imatrix, and the cost of seeing the layers' inputs.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use benches::processor_seconds;
use imatrix::Accumulator;
use reference::calibration::{Calibration, collect};
use reference::{Model, Rounding, Tap, Tokenizer};

use crate::options::Options;
use crate::perplexity::text as evaluation_text;
use crate::process::{Times, median, run};
use crate::programs::quantsmith;

/// Presets of the source, the rounding of ours, and the targets in multiples of stock's speed.
const TARGETS: [(&str, &str, f64); 3] = [
    ("F16", "none", 1.3),
    ("Q8_0", "none", f64::NAN),
    ("Q8_0", "llama.cpp", 2.5),
];

/// Windows of 512 after which a run is timed, and until which.
const WINDOWS: [u32; 2] = [4, 12];

/// Share of the time that the tap may take.
const TAP: f64 = 0.05;

/// A tap that looks at nothing.
struct Blind;

impl Tap for Blind {
    fn linear(&mut self, _: &str, _: Option<usize>, _: &[f32], _: usize) {}
}

/// Measures all sources.
pub(crate) fn importance(options: &Options) -> Result<String> {
    let dir = oracle::scratch()?;
    let threads = options.threads.to_string();
    let windows = if options.quick { [4, 8] } else { WINDOWS };
    let tokens = f64::from(512 * (windows[1] - windows[0]));
    let mut text = format!(
        "## Importance\n\nTokens a second as for perplexity, windows of 512, the median of {}. Stock: llama-imatrix \
         --no-ppl. It rounds as all of stock does; ours does so with `--rounding llama.cpp`.\n\n| source | rounding of ours | \
         ours | stock | ratio | ours, wall | stock, wall | ratio, wall | target | |\n|---|---|---|---|---|---|---|---|---|---|\n",
        options.rounds()
    );
    for (preset, rounding, target) in TARGETS {
        let model = options.in_preset(preset, dir.path())?;
        let (ours, theirs) = times(options, &model, rounding, windows, &threads, dir.path())?;
        let speed =
            |times: &[Times], seconds: fn(&Times) -> f64| median(times.iter().map(|t| tokens / seconds(t)));
        let ratio = |seconds: fn(&Times) -> f64| {
            median(
                ours.iter()
                    .zip(&theirs)
                    .map(|(ours, theirs)| seconds(theirs) / seconds(ours)),
            )
        };
        let met = match options.stock && target.is_finite() {
            false => "",
            true if ratio(|t| t.user) >= target => "✓",
            true => "short",
        };
        let wanted = if target.is_finite() {
            target.to_string()
        } else {
            String::new()
        };
        writeln!(
            text,
            "| {preset} | {rounding} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.2} | {wanted} | {met} |",
            speed(&ours, |t| t.user),
            speed(&theirs, |t| t.user),
            ratio(|t| t.user),
            speed(&ours, |t| t.wall),
            speed(&theirs, |t| t.wall),
            ratio(|t| t.wall),
        )?;
    }
    for (preset, rounding, name) in [
        ("F16", Rounding::None, "none"),
        ("Q8_0", Rounding::LlamaCpp, "llama.cpp"),
    ] {
        let model = Model::load(&options.in_preset(preset, dir.path())?)?.with_rounding(rounding);
        let share = tap(&model, options.rounds())?;
        writeln!(
            text,
            "\nOf the processor time of collecting from {preset} (rounding {name}), {:.1} % go to seeing the layers' inputs \
             (target {:.0} %).",
            100.0 * share,
            100.0 * TAP
        )?;
    }
    Ok(text)
}

/// Times of rounds of ours and of stock's, which take turns; of the windows beyond the first few.
fn times(
    options: &Options,
    model: &Path,
    rounding: &str,
    [few, many]: [u32; 2],
    threads: &str,
    dir: &Path,
) -> Result<(Vec<Times>, Vec<Times>)> {
    let out = dir.join("matrix.gguf");
    let common = |command: &mut Command, windows: u32| {
        command.arg("-m").arg(model).arg("-f").arg(evaluation_text());
        command.arg("-o").arg(&out).args(["-c", "512", "--no-ppl"]);
        command.args(["--chunks", &windows.to_string(), "--threads", threads]);
    };
    let (mut ours, mut theirs) = (Vec::<Times>::new(), Vec::<Times>::new());
    for _ in 0..options.rounds() {
        let of_ours = |windows| {
            let mut command = quantsmith()?;
            common(command.args(["imatrix", "--rounding", rounding]), windows);
            run(&mut command)
        };
        let few_of_ours = of_ours(few)?;
        ours.push(of_ours(many)?.beyond(few_of_ours));
        if options.stock {
            let program = options.llama_tool("llama-imatrix")?;
            let of_theirs = |windows| {
                let mut command = Command::new(&program);
                common(&mut command, windows);
                run(&mut command)
            };
            let few_of_theirs = of_theirs(few)?;
            theirs.push(of_theirs(many)?.beyond(few_of_theirs));
        }
    }
    Ok((ours, theirs))
}

/// The share of the processor time that collecting takes more than a run without, of pairs of runs.
fn tap(model: &Model, rounds: usize) -> Result<f64> {
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
    let tokens = tokenizer.encode(std::fs::read_to_string(evaluation_text())?, true, false);
    let mut calibration = Calibration::new(512);
    calibration.chunks = Some(8);
    let windows: Vec<&[u32]> = tokens.chunks_exact(512).take(8).collect();
    let mut shares = Vec::new();
    for _ in 0..rounds {
        let begun = processor_seconds();
        for step in windows.chunks(calibration.per_step()) {
            model.observe(step, &mut Blind)?;
        }
        let between = processor_seconds();
        let mut collected = Accumulator::new(512);
        collect(model, &tokens, &calibration, &mut collected, 0, &mut |_| {
            anyhow::Ok(())
        })?;
        let (without, with) = (between - begun, processor_seconds() - between);
        shares.push((with - without) / with);
    }
    Ok(median(shares))
}
