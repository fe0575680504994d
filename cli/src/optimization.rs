//! `--optimize`: blocks that are chosen better than stock's, at the same types and sizes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use convert::distribute::OptimizeRequest;
use convert::quantize::{OPTIMIZE_KEYS, Quantization};
use convert::scratch::Scratch;
use convert::source::Source;
use gguf::{Metadata, Value};
use optimize::{Damping, Kept, LayerOptions, Report, WINDOW};
use reference::Model;
use reference::tokenizer::Tokenizer;

use crate::args::utf8;
use crate::progress::{Meter, Unit};
use crate::threads::in_pool;

/// Heading of these options in the help.
const HEADING: &str = "Optimization of blocks";

/// Options for the choice of blocks.
#[derive(clap::Args)]
pub(crate) struct OptimizeArgs {
    /// Choose the values in blocks better than stock does; types and sizes stay
    #[arg(help_heading = HEADING, long, value_enum, default_value_t = Level::None)]
    optimize: Level,

    /// Text to learn from, with --optimize layer
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    optimize_text: Option<PathBuf>,

    /// Learn from at most this many windows of 512 tokens
    #[arg(help_heading = HEADING, long, value_name = "N")]
    optimize_chunks: Option<usize>,
}

/// The values of --optimize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Level {
    /// Stock's bytes
    None,
    /// Learned from the inputs of each layer over a text, so that errors of different columns make up for each other
    Layer,
}

/// State prepared before any work: the windows to learn from, and the keys that say so in the file.
pub(crate) struct Prepared {
    level: Level,
    windows: Vec<Vec<u32>>,
    /// Whether the run is to be one that can be continued.
    resume: bool,
    /// Keys to record.
    pub(crate) record: Vec<(String, Value)>,
}

impl OptimizeArgs {
    /// Arguments of learning from so many windows of a text.
    pub(crate) fn learning_from(text: &Path, windows: usize) -> Self {
        Self {
            optimize: Level::Layer,
            optimize_text: Some(text.to_path_buf()),
            optimize_chunks: Some(windows),
        }
    }

    /// The request of a plan; `None` for stock's bytes.
    pub(crate) fn request(&self) -> anyhow::Result<Option<OptimizeRequest>> {
        if !self.given() {
            return Ok(None);
        }
        Ok(Some(OptimizeRequest {
            text: self.optimize_text.as_deref().map(utf8).transpose()?,
            chunks: self.optimize_chunks,
        }))
    }

    /// The arguments that a plan stands for; the text is `text` here.
    pub(crate) fn of_request(request: Option<&OptimizeRequest>, text: Option<&Path>) -> Self {
        Self {
            optimize: request.map_or(Level::None, |_| Level::Layer),
            optimize_text: text.map(Path::to_path_buf),
            optimize_chunks: request.and_then(|request| request.chunks),
        }
    }

    /// The text to learn from, where one is named.
    pub(crate) fn text(&self) -> Option<&Path> {
        self.optimize_text.as_deref()
    }

    /// Whether blocks are learned from a text.
    pub(crate) fn learns(&self) -> bool {
        self.optimize == Level::Layer
    }

    /// Whether blocks are other than stock's.
    pub(crate) fn given(&self) -> bool {
        self.optimize != Level::None
    }

    /// Reads the text and makes windows of it. `otherwise` is the text where none is named; `metadata` are the model's;
    /// `resume` says whether the run is to be one that can be continued.
    pub(crate) fn prepare(
        &self,
        metadata: &Metadata,
        path: &Path,
        otherwise: Option<&str>,
        resume: bool,
    ) -> anyhow::Result<Prepared> {
        let mut prepared = Prepared {
            level: self.optimize,
            windows: Vec::new(),
            resume,
            record: Vec::new(),
        };
        if self.optimize != Level::Layer && (self.optimize_text.is_some() || self.optimize_chunks.is_some()) {
            bail!("--optimize-text and --optimize-chunks go with --optimize layer");
        }
        if self.optimize == Level::None {
            return Ok(prepared);
        }
        let mut put = |key: &str, value: Value| {
            prepared.record.push((format!("{OPTIMIZE_KEYS}{key}"), value));
        };
        put("method", "layer".into());
        put("version", 2u32.into());
        let architecture = metadata.architecture();
        if !reference::architectures().any(|known| known == architecture) {
            bail!(
                "{}: the forward pass does not know architecture {architecture:?}, so --optimize layer cannot learn \
                 from its inputs; --optimize none (stock's bytes) needs none",
                path.display()
            );
        }
        let text = match (&self.optimize_text, otherwise) {
            (Some(file), _) => {
                let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
                String::from_utf8(bytes).with_context(|| format!("{}: not UTF-8", file.display()))?
            }
            (None, Some(text)) => text.to_owned(),
            (None, None) => bail!("--optimize layer needs a text to learn from (--optimize-text)"),
        };
        let tokenizer = Tokenizer::from_metadata(metadata)?;
        let tokens = tokenizer.encode(&text, true, false);
        let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
        let count = self.optimize_chunks.unwrap_or(usize::MAX);
        let windows = tokens.chunks_exact(WINDOW).take(count).map(|window| {
            let mut window = window.to_vec();
            window[0] = bos.unwrap_or(window[0]);
            window
        });
        let windows: Vec<Vec<u32>> = windows.collect();
        let damping = Damping::default();
        put("windows", u32::try_from(windows.len()).unwrap_or(u32::MAX).into());
        put("window", (WINDOW as u32).into());
        put("calibration", optimize::digest(&windows).into());
        put("shrink", damping.shrink.into());
        put("ridge", damping.ridge.into());
        prepared.windows = windows;
        Ok(prepared)
    }
}

impl Prepared {
    /// Gives a plan its better blocks. `model` is asked for only where blocks are learned.
    pub(crate) fn apply(
        &self,
        source: &dyn Source,
        plan: &mut Quantization<'_>,
        model: impl FnOnce() -> anyhow::Result<Model>,
        threads: usize,
        max_memory: u64,
    ) -> anyhow::Result<Option<Report>> {
        match self.level {
            Level::None => Ok(None),
            Level::Layer => self.learn(source, plan, &model()?, threads, max_memory).map(Some),
        }
    }

    /// Removes what was kept for continuing the run, once its file is there.
    pub(crate) fn forget(&self, plan: &Quantization<'_>) -> anyhow::Result<()> {
        match layers_file(plan).filter(|_| self.resume && self.level == Level::Layer) {
            Some(path) if path.exists() => {
                std::fs::remove_file(&path).with_context(|| path.display().to_string())
            }
            _ => Ok(()),
        }
    }

    /// [`Self::apply`] with a model that is open already.
    pub(crate) fn learn(
        &self,
        source: &dyn Source,
        plan: &mut Quantization<'_>,
        model: &Model,
        threads: usize,
        max_memory: u64,
    ) -> anyhow::Result<Report> {
        plan.check()?;
        let kept = layers_file(plan);
        let folder = kept.as_deref().and_then(Path::parent);
        let folder = folder.filter(|f| !f.as_os_str().is_empty());
        let options = LayerOptions::new(self.windows.clone(), folder.unwrap_or(Path::new(".")))
            .max_memory(max_memory)
            .resume(kept.clone().filter(|_| self.resume));
        let preset = plan.preset;
        let outputs = &mut plan.outputs;
        eprintln!("{preset}: learning the blocks of each layer");
        let meter = Meter::of("learn", Unit::Count("layers"), model.layers() as u64);
        let report = in_pool(threads, || {
            optimize::layers(model, source, outputs, &options, &mut |done, of| {
                meter.show(done as u64, of as u64);
            })
        })??;
        meter.finish();
        if report.known_layers > 0 {
            eprintln!("{preset}: went on after {} layers", report.known_layers);
        }
        if report.in_files {
            eprintln!("{preset}: hidden states in files, for want of memory");
        }
        for tensor in &report.tensors {
            if let Some(kept) = tensor.kept {
                let (all, matrices) = tensor.matrices;
                let part = match all {
                    1 => String::new(),
                    _ => format!(" in {matrices} of {all} matrices"),
                };
                eprintln!("{}: stock's bytes{part}: {kept}", tensor.tensor);
            }
        }
        eprintln!("{}", summary(&report));
        Ok(report)
    }
}

/// Where the layers that are done are kept while a run that can be continued is at work: beside the output.
fn layers_file(plan: &Quantization<'_>) -> Option<PathBuf> {
    let output = &plan.outputs.first()?.path;
    let mut name = std::ffi::OsString::from(".");
    name.push(output.file_name()?);
    name.push(".layers");
    Some(output.with_file_name(name))
}

fn summary(report: &Report) -> String {
    let kept: Vec<String> = [Kept::Type, Kept::Inputs, Kept::HeldOut]
        .into_iter()
        .map(|reason| (report.kept(reason), reason))
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| format!("{count} with stock's bytes ({reason})"))
        .collect();
    let ratio = report.mean_ratio().map_or(String::new(), |ratio| {
        format!("; error of the layers' outputs on held-out tokens {ratio:.3} of stock's (geometric mean)")
    });
    format!(
        "{} tensors learned{}{}{ratio}",
        report.tensors.iter().filter(|t| t.kept.is_none()).count(),
        if kept.is_empty() { "" } else { ", " },
        kept.join(", ")
    )
}

/// A report for machines.
pub(crate) fn as_json(report: &Report) -> serde_json::Value {
    let tensors: Vec<_> = report
        .tensors
        .iter()
        .map(|t| {
            serde_json::json!({
                "name": t.tensor,
                "error_ratio": t.ratios.map(|r| r.0),
                "held_out_error_ratio": t.ratios.map(|r| r.1),
                "stock_bytes": t.kept.map(|k| k.to_string()),
                "matrices": t.matrices.0,
                "matrices_with_stock_bytes": t.matrices.1,
            })
        })
        .collect();
    serde_json::json!({
        "held_out_error_ratio": report.mean_ratio(),
        "tensors": tensors,
    })
}

/// The unquantized model of a source: its own GGUF file, or one made of a model directory, which is gone after use.
pub(crate) fn base_model(source: &dyn Source, beside: &Path, threads: usize) -> anyhow::Result<Model> {
    if !source.path().is_dir() {
        return Ok(Model::load(source.path())?);
    }
    let directory = beside.parent().filter(|d| !d.as_os_str().is_empty());
    let folder = Scratch::new(directory.unwrap_or(Path::new(".")))?;
    let file = folder.path().join("base.gguf");
    let options = convert::pipeline::PipelineOptions::default().threads(threads);
    crate::base::write_source(source, &file, &options)?;
    // Once open, the file needs no name.
    Ok(Model::load(&file)?)
}
