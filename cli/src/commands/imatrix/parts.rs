//! Parts of `quantsmith imatrix`: some windows of the texts, kept step by step.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use convert::distribute::Part;
use gguf::check_target;
use imatrix::Accumulator;
use reference::calibration::collect_windows;

use super::checkpoint::Run;
use super::{Args, dataset_names, needed_bytes, open_model, read_texts, tokens};
use crate::context::warn_of_length;
use crate::progress::{Meter, Unit};

/// The part to run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// This one.
    Of(Part),
    /// The one that a scheduler's variables name.
    Auto,
}

/// Reads `I/N` or `auto`.
pub(super) fn parse(text: &str) -> Result<Which, String> {
    match text {
        "auto" => Ok(Which::Auto),
        _ => text
            .parse()
            .map(Which::Of)
            .map_err(|e: convert::Error| e.to_string()),
    }
}

impl Which {
    /// The part.
    pub(super) fn part(self) -> anyhow::Result<Part> {
        match self {
            Self::Of(part) => Ok(part),
            Self::Auto => Part::from_environment(&|name| std::env::var(name).ok())?
                .context("--part auto: no scheduler's variables are set"),
        }
    }
}

/// The file of a part.
fn path_of(output: &Path, part: Part) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(format!(".part-{}-of-{}", part.number(), part.count()));
    name.into()
}

/// Runs the part's windows and writes its file.
pub(super) fn run(model: &Path, paths: &[PathBuf], part: Part, args: &Args) -> anyhow::Result<()> {
    if paths.is_empty() {
        bail!("a text to calibrate on is missing");
    }
    let output = path_of(&args.output, part);
    // What could fail after hours is tried before them.
    let texts = read_texts(paths)?;
    check_target(&output, 0)?;
    let model = open_model(model, args)?;
    warn_of_length(model.gguf().metadata(), args.ctx_size);
    let run = Run::new(model.gguf(), &texts, args)?;
    let (tokens, calibration) = tokens(&model, &texts, args)?;
    let of = calibration.windows(&tokens)?;
    let windows = calibration.part(&tokens, part.number(), part.count())?;
    let steps = windows.len().div_ceil(calibration.per_step()) as u64;
    check_target(&output, needed_bytes(&model).saturating_mul(steps) / 2)?;
    let number = |n: usize| u32::try_from(n).context("too many windows");
    let mut accumulator = Accumulator::keeping_steps(number(args.ctx_size)?);
    let first = windows.start;
    let meter = Meter::of("calibrate", Unit::Windows, windows.len() as u64);
    collect_windows(
        &model,
        &tokens,
        &calibration,
        &mut accumulator,
        windows.clone(),
        &mut |step| {
            for (window, tensor) in &step.set_aside {
                meter.print(&format!(
                    "warning: window {window} is set aside: the inputs of {tensor} are not finite"
                ));
            }
            meter.show((step.done - first) as u64, windows.len() as u64);
            anyhow::Ok(())
        },
    )?;
    meter.finish();
    let saved = imatrix::part::Part {
        run: run.lines().to_vec(),
        datasets: dataset_names(paths),
        chunk_size: number(args.ctx_size)?,
        first: number(first)?,
        windows: number(of)?,
        steps: accumulator.into_steps(),
    };
    saved.save(&output)?;
    eprintln!(
        "{}: windows {} to {} of {of}",
        output.display(),
        first,
        windows.end
    );
    Ok(())
}
