//! The forward pass beside llama-perplexity: speed and memory.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::options::Options;
use crate::process::{Run, Times, median, run};
use crate::programs::quantsmith;

/// Presets, and the targets in multiples of stock's speed.
const TARGETS: [(&str, f64); 9] = [
    ("F16", 1.2),
    ("Q8_0", 2.5),
    ("Q6_K", 2.5),
    ("Q4_K_M", 2.5),
    ("Q3_K_M", 2.5),
    ("Q2_K", 2.5),
    ("IQ4_XS", 3.0),
    ("IQ3_S", 3.0),
    ("IQ2_XS", 3.0),
];

/// Windows after which a run is timed, and until which.
const WINDOWS: [u32; 2] = [2, 10];

/// Tokens in a window.
const CONTEXT: u32 = 512;

/// Our memory at most, as a share of stock's.
const MEMORY: f64 = 0.3;

/// The evaluation text.
pub(crate) fn text() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo/eval.txt")
}

/// One program on one model.
struct Measured {
    times: Vec<Times>,
    /// The longest run with the most memory.
    peak: Run,
}

impl Measured {
    fn new() -> Self {
        Self {
            times: Vec::new(),
            peak: Run::default(),
        }
    }

    /// Times a program on more windows beyond fewer, so that loading does not count.
    fn add(&mut self, windows: [u32; 2], mut command: impl FnMut(u32) -> Result<Command>) -> Result<()> {
        let [few, many] = windows;
        let few = run(&mut command(few)?)?;
        let many = run(&mut command(many)?)?;
        self.times.push(many.beyond(few));
        self.peak.anonymous = self.peak.anonymous.max(many.anonymous);
        self.peak.resident = self.peak.resident.max(many.resident);
        Ok(())
    }
}

/// Measures all presets.
pub(crate) fn perplexity(options: &Options) -> Result<String> {
    let dir = oracle::scratch()?;
    let threads = options.threads.to_string();
    let windows = if options.quick { [2, 6] } else { WINDOWS };
    let tokens = f64::from(CONTEXT * (windows[1] - windows[0]));
    let mut text = format!(
        "## Perplexity\n\nTokens a second of processor time (in user mode, over all {threads} threads) and of wall time; \
         windows of {CONTEXT}, the median of {}; loading is not counted. Stock: llama-perplexity. Ours rounds as stock does \
         (`--rounding llama.cpp`). The ratios are those of each pair of runs, and their median. Memory: anonymous, and with \
         mapped files, in MiB; its target is {MEMORY} of stock's.\n\n| model | ours | stock | ratio | ours, wall | stock, wall \
         | ratio, wall | target | | our memory | stock's | ratio |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        options.rounds()
    );
    for (preset, target) in TARGETS.into_iter().filter(|(preset, _)| options.wants(preset)) {
        let model = options.in_preset(preset, dir.path())?;
        let common = |command: &mut Command, windows: u32| {
            command.arg("-m").arg(&model).arg("-f").arg(self::text());
            command.args(["-c", &CONTEXT.to_string(), "--chunks", &windows.to_string()]);
            command.args(["--threads", &threads]);
        };
        let (mut ours, mut theirs) = (Measured::new(), Measured::new());
        for _ in 0..options.rounds() {
            ours.add(windows, |windows| {
                let mut command = quantsmith()?;
                common(command.arg("perplexity"), windows);
                Ok(command)
            })?;
            if options.stock {
                theirs.add(windows, |windows| {
                    let mut command = Command::new(options.llama_tool("llama-perplexity")?);
                    common(&mut command, windows);
                    Ok(command)
                })?;
            }
        }
        let speed = |measured: &Measured, seconds: fn(&Times) -> f64| {
            median(measured.times.iter().map(|times| tokens / seconds(times)))
        };
        let ratio = |seconds: fn(&Times) -> f64| {
            let pairs = ours.times.iter().zip(&theirs.times);
            median(pairs.map(|(ours, theirs)| seconds(theirs) / seconds(ours)))
        };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let met = match options.stock {
            false => "",
            true if ratio(|t| t.user) >= target => "✓",
            true => "short",
        };
        writeln!(
            text,
            "| {preset} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.2} | {target} | {met} | {:.0}, {:.0} | {:.0}, {:.0} | \
             {:.2}, {:.2} |",
            speed(&ours, |t| t.user),
            speed(&theirs, |t| t.user),
            ratio(|t| t.user),
            speed(&ours, |t| t.wall),
            speed(&theirs, |t| t.wall),
            ratio(|t| t.wall),
            mib(ours.peak.anonymous),
            mib(ours.peak.resident),
            mib(theirs.peak.anonymous),
            mib(theirs.peak.resident),
            mib(ours.peak.anonymous) / mib(theirs.peak.anonymous),
            mib(ours.peak.resident) / mib(theirs.peak.resident),
        )?;
        eprintln!("{preset}: {:.2}", ratio(|t| t.user));
    }
    Ok(text)
}
