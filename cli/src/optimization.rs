//! `--optimize`: blocks that are chosen better than stock's, at the same types and sizes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use convert::distribute::{Layout, OptimizeRequest};
use convert::plan::Encoder;
use convert::quantize::{OPTIMIZE_KEYS, Quantization};
use convert::scratch::Scratch;
use convert::source::Source;
use gguf::{Metadata, Value};
use optimize::{Damping, Kept, LayerOptions, LossOptions, Report, Tuned, WINDOW};
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

    /// Text to learn from, with --optimize layer or loss
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    optimize_text: Option<PathBuf>,

    /// Learn from at most this many windows of 512 tokens
    #[arg(help_heading = HEADING, long, value_name = "N")]
    optimize_chunks: Option<usize>,

    /// Steps of tuning, with --optimize loss [default: 200]
    #[arg(help_heading = HEADING, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    optimize_steps: Option<u32>,
}

/// The values of --optimize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Level {
    /// Stock's bytes
    None,
    /// Each block searched by itself, with the precision in which it is stored and without a text
    Block,
    /// Learned from the inputs of each layer over a text, so that errors of different columns make up for each other
    Layer,
    /// The same; then scales of blocks and weights of norms are tuned to the unquantized model's predictions
    Loss,
}

impl Level {
    /// The levels that a plan or a file can name.
    const GIVEN: [Self; 3] = [Self::Block, Self::Layer, Self::Loss];

    /// The name in arguments, keys and plans.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Block => "block",
            Self::Layer => "layer",
            Self::Loss => "loss",
        }
    }

    /// The level of this name whose blocks are other than stock's.
    fn given(name: &str) -> anyhow::Result<Self> {
        let found = Self::GIVEN.into_iter().find(|level| level.name() == name);
        found.with_context(|| format!("level of --optimize: expected block, layer or loss, found {name:?}"))
    }

    /// The version of its method.
    fn version(self) -> u32 {
        match self {
            Self::None => 1,
            Self::Block => 2,
            Self::Layer | Self::Loss => 4,
        }
    }

    /// Whether it learns from a text.
    fn learns(self) -> bool {
        matches!(self, Self::Layer | Self::Loss)
    }
}

/// State prepared before any work: the windows to learn from, and the keys that say so in the file.
pub(crate) struct Prepared {
    level: Level,
    /// Steps of tuning.
    steps: usize,
    windows: Vec<Vec<u32>>,
    /// Whether the run is to be one that can be continued.
    resume: bool,
    /// Keys to record.
    pub(crate) record: Vec<(String, Value)>,
}

impl OptimizeArgs {
    /// Arguments of learning again what a file was made by: its level, the windows of the text, the steps of tuning.
    pub(crate) fn again(
        level: &str,
        text: &Path,
        windows: usize,
        steps: Option<u32>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            optimize: Level::given(level)?,
            optimize_text: Some(text.to_path_buf()),
            optimize_chunks: Some(windows),
            optimize_steps: steps,
        })
    }

    /// Arguments for what needs no text: stock's bytes, or blocks searched by themselves.
    pub(crate) fn without_text(search: bool) -> Self {
        Self {
            optimize: if search { Level::Block } else { Level::None },
            optimize_text: None,
            optimize_chunks: None,
            optimize_steps: None,
        }
    }

    /// The request of a plan; `None` for stock's bytes.
    pub(crate) fn request(&self) -> anyhow::Result<Option<OptimizeRequest>> {
        if !self.given() {
            return Ok(None);
        }
        Ok(Some(OptimizeRequest {
            level: (self.optimize != Level::Layer).then(|| self.optimize.name().to_owned()),
            steps: self.optimize_steps,
            text: self.optimize_text.as_deref().map(utf8).transpose()?,
            chunks: self.optimize_chunks,
        }))
    }

    /// The arguments that a plan stands for; the text is `text` here.
    pub(crate) fn of_request(request: Option<&OptimizeRequest>, text: Option<&Path>) -> anyhow::Result<Self> {
        let level =
            request.map(|request| Level::given(request.level.as_deref().unwrap_or(Level::Layer.name())));
        Ok(Self {
            optimize: level.transpose()?.unwrap_or(Level::None),
            optimize_text: text.map(Path::to_path_buf),
            optimize_chunks: request.and_then(|request| request.chunks),
            optimize_steps: request.and_then(|request| request.steps),
        })
    }

    /// The text to learn from, where one is named.
    pub(crate) fn text(&self) -> Option<&Path> {
        self.optimize_text.as_deref()
    }

    /// Whether blocks are learned from a text.
    pub(crate) fn learns(&self) -> bool {
        self.optimize.learns()
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
            steps: self.optimize_steps.map_or(optimize::STEPS, |n| n as usize),
            windows: Vec::new(),
            resume,
            record: Vec::new(),
        };
        let name = self.optimize.name();
        if !self.learns() && (self.optimize_text.is_some() || self.optimize_chunks.is_some()) {
            bail!("--optimize-text and --optimize-chunks go with --optimize layer or loss");
        }
        if self.optimize != Level::Loss && self.optimize_steps.is_some() {
            bail!("--optimize-steps goes with --optimize loss");
        }
        if self.optimize == Level::None {
            return Ok(prepared);
        }
        let mut put = |key: &str, value: Value| {
            prepared.record.push((format!("{OPTIMIZE_KEYS}{key}"), value));
        };
        put("method", name.into());
        put("version", self.optimize.version().into());
        if self.optimize == Level::Block {
            return Ok(prepared);
        }
        let architecture = metadata.architecture();
        if !reference::architectures().any(|known| known == architecture) {
            bail!(
                "{}: the forward pass does not know architecture {architecture:?}, so --optimize {name} cannot learn \
                 from its inputs; --optimize block and none (stock's bytes) need none",
                path.display()
            );
        }
        let text = match (&self.optimize_text, otherwise) {
            (Some(file), _) => {
                let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
                String::from_utf8(bytes).with_context(|| format!("{}: not UTF-8", file.display()))?
            }
            (None, Some(text)) => text.to_owned(),
            (None, None) => bail!("--optimize {name} needs a text to learn from (--optimize-text)"),
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
        if self.optimize == Level::Loss {
            put("steps", u32::try_from(prepared.steps).unwrap_or(u32::MAX).into());
            put("rate", optimize::RATE.into());
        }
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
        if !self.level.learns() {
            self.apply_without_model(source, plan)?;
            return Ok(None);
        }
        if self.level == Level::Loss {
            let tensors = plan.outputs.iter().flat_map(|output| output.tensors());
            if let Some(part) = reference::without_backward(source.metadata(), tensors) {
                bail!(
                    "{}: the backward pass does not know {part} of architecture {:?}, so --optimize loss cannot tune it; \
                     --optimize layer, block and none need no backward pass",
                    source.path().display(),
                    source.metadata().architecture()
                );
            }
        }
        self.learn(source, plan, &model()?, threads, max_memory).map(Some)
    }

    /// Gives a plan the blocks of a level that learns nothing.
    pub(crate) fn apply_without_model(
        &self,
        source: &dyn Source,
        plan: &mut Quantization<'_>,
    ) -> anyhow::Result<()> {
        match self.level {
            Level::None => Ok(()),
            Level::Block => search_blocks(source, plan),
            Level::Layer | Level::Loss => bail!("no model to learn from"),
        }
    }

    /// Has the files of a plan encoded by the encoder of the level, where that needs nothing but the weights.
    pub(crate) fn set_encoders<'a>(
        &self,
        source: &'a dyn Source,
        layout: &mut Layout<'a>,
    ) -> anyhow::Result<()> {
        if self.level == Level::Block {
            layout.set_encoders(source, &mut |plan| {
                optimize::blocks(source, &mut plan.outputs);
                Ok::<_, convert::Error>(())
            })?;
        }
        Ok(())
    }

    /// Removes what was kept for continuing the run, once its file is there.
    pub(crate) fn forget(&self, plan: &Quantization<'_>) -> anyhow::Result<()> {
        match layers_file(plan).filter(|_| self.resume && self.level.learns()) {
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
        let layers = LayerOptions::new(self.windows.clone(), folder.unwrap_or(Path::new(".")))
            .max_memory(max_memory)
            .resume(kept.clone().filter(|_| self.resume));
        let preset = plan.preset;
        let outputs = &mut plan.outputs;
        eprintln!("{preset}: learning the blocks of each layer");
        let report = match self.level {
            Level::Loss => {
                let options = LossOptions::new(layers).steps(self.steps);
                let mut shown: Option<(&str, Meter)> = None;
                let report = in_pool(threads, || {
                    optimize::loss(model, source, outputs, &options, &mut |step, done, of| {
                        if shown.as_ref().is_none_or(|(name, _)| *name != step) {
                            if let Some((_, before)) = shown.take() {
                                before.finish();
                            }
                            let phase = match step {
                                "layers" => "learn",
                                "predictions" => {
                                    eprintln!("{preset}: tuning scales and norms to the model's predictions");
                                    "predict"
                                }
                                _ => "tune",
                            };
                            shown = Some((step, Meter::of(phase, Unit::Count(step), of as u64)));
                        }
                        if let Some((_, meter)) = &shown {
                            meter.show(done as u64, of as u64);
                        }
                    })
                })??;
                if let Some((_, meter)) = shown {
                    meter.finish();
                }
                report
            }
            _ => {
                let meter = Meter::of("learn", Unit::Count("layers"), model.layers() as u64);
                let report = in_pool(threads, || {
                    optimize::layers(model, source, outputs, &layers, &mut |done, of| {
                        meter.show(done as u64, of as u64);
                    })
                })??;
                meter.finish();
                report
            }
        };
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
        if let Some(tuned) = &report.tuned {
            eprintln!("{}", told(tuned));
        }
        Ok(report)
    }
}

/// The keys of a record that say how blocks were chosen, without what all of them begin with, and their values as text.
pub(crate) fn keys_of(record: &[(String, Value)]) -> Vec<(String, String)> {
    let keys = record.iter().filter_map(|(key, value)| {
        let key = key.strip_prefix(OPTIMIZE_KEYS)?;
        Some((key.to_owned(), shown(value)))
    });
    keys.collect()
}

/// Value of a key, as text.
pub(crate) fn shown(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    match value {
        Value::U32(n) => n.to_string(),
        Value::F32(x) => x.to_string(),
        Value::F64(x) => x.to_string(),
        other => format!("{other:?}"),
    }
}

/// The encoder that a file says it was made by, where that needs nothing but the weights. That of another version is not
/// known here, which a warning says.
pub(crate) fn encoder_of(metadata: &Metadata, path: &Path) -> Option<Arc<dyn Encoder>> {
    let key = |name: &str| format!("{OPTIMIZE_KEYS}{name}");
    let level = Level::Block;
    if metadata.get_str(&key("method")) != Some(level.name()) {
        return None;
    }
    let found = metadata.get_u64(&key("version"));
    if found == Some(level.version().into()) {
        return Some(optimize::block_encoder());
    }
    eprintln!(
        "warning: {}: key '{}': expected {}, found {}: its blocks were searched otherwise than this version does, and cannot \
         be proven",
        path.display(),
        key("version"),
        level.version(),
        found.map_or_else(|| "none".to_owned(), |version| version.to_string())
    );
    None
}

/// Has the blocks of a plan searched while they are written.
fn search_blocks(source: &dyn Source, plan: &mut Quantization<'_>) -> anyhow::Result<()> {
    plan.check()?;
    let tensors = plan.outputs.iter().flat_map(|output| output.contents());
    let quantized = tensors.filter(|tensor| tensor.ty.is_quantized()).count();
    let searched = optimize::blocks(source, &mut plan.outputs);
    if searched < quantized {
        eprintln!(
            "{}: {searched} of {quantized} quantized tensors have types that --optimize block searches; the others \
             keep stock's bytes",
            plan.preset
        );
    }
    Ok(())
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

fn told(tuned: &Tuned) -> String {
    let Tuned {
        before, after, steps, ..
    } = tuned;
    match tuned.best {
        0 => format!(
            "{steps} steps of tuning left the divergence on held-out windows no lower than {before:.5}: what was learned layer by \
             layer stays"
        ),
        best => format!(
            "divergence on held-out windows {before:.5} before tuning, {after:.5} after {best} of {steps} steps ({:.3})",
            after / before
        ),
    }
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
    let mut json = serde_json::json!({
        "held_out_error_ratio": report.mean_ratio(),
        "tensors": tensors,
    });
    if let Some(tuned) = &report.tuned {
        json["tuned"] = serde_json::json!({
            "held_out_divergence_before": tuned.before,
            "held_out_divergence": tuned.after,
            "steps": tuned.steps,
            "kept_step": tuned.best,
        });
    }
    json
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
