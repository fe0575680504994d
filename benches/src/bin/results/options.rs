//! The arguments.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use benches::models;

use crate::process::run;
use crate::programs::quantsmith;

pub(crate) const HELP: &str = "results [OPTIONS] [PART …]

codecs      encoders and decoders beside ggml's
table       the table pass over whole files
perplexity  tokens a second and memory beside llama-perplexity
imatrix     tokens a second beside llama-imatrix, and the cost of the tap
evaluation  the files of a table measured side by side, and the table of the demo model
agreement   KL divergence by both roundings beside stock's
forward     the last four

  --quick            few windows and one round; prints, and leaves the page as it is
  --presets A,B      those of `perplexity` and `agreement` [all that have a target]
  --threads N        [as many as the machine runs at once]
  --rounds N         the median of so many counts [5]
  --model F16.gguf   another model than the testbed
  --imatrix FILE     a matrix that was calibrated; the made-up one is as fast
  --llama-tools DIR  folder of llama-perplexity and llama-imatrix [built from the sources for this processor]
  --no-stock         without stock";

/// A part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Codecs,
    Table,
    Perplexity,
    Imatrix,
    Evaluation,
    Agreement,
}

impl Part {
    /// All, in the order of the page.
    pub(crate) const ALL: [Self; 6] = [
        Self::Codecs,
        Self::Table,
        Self::Perplexity,
        Self::Imatrix,
        Self::Evaluation,
        Self::Agreement,
    ];

    /// Those that run a model.
    const FORWARD: [Self; 4] = [Self::Perplexity, Self::Imatrix, Self::Evaluation, Self::Agreement];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Codecs => "codecs",
            Self::Table => "table",
            Self::Perplexity => "perplexity",
            Self::Imatrix => "imatrix",
            Self::Evaluation => "evaluation",
            Self::Agreement => "agreement",
        }
    }
}

pub(crate) struct Options {
    pub(crate) parts: Vec<Part>,
    pub(crate) quick: bool,
    pub(crate) stock: bool,
    pub(crate) threads: usize,
    rounds: Option<usize>,
    presets: Option<Vec<String>>,
    model: Option<PathBuf>,
    imatrix: Option<PathBuf>,
    llama_tools: Option<PathBuf>,
}

impl Options {
    /// Reads arguments; `None` where help is wanted.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self {
            parts: Vec::new(),
            quick: false,
            stock: true,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            rounds: None,
            presets: None,
            model: None,
            imatrix: None,
            llama_tools: None,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => options.quick = true,
                "--no-stock" => options.stock = false,
                "--threads" => options.threads = value()?.parse().context("--threads N")?,
                "--rounds" => options.rounds = Some(value()?.parse().context("--rounds N")?),
                "--presets" => {
                    options.presets = Some(value()?.split(',').map(str::to_owned).collect());
                }
                "--model" => options.model = Some(value()?.into()),
                "--imatrix" => options.imatrix = Some(value()?.into()),
                "--llama-tools" => options.llama_tools = Some(value()?.into()),
                "forward" => options.parts.extend(Part::FORWARD),
                name => match Part::ALL.iter().find(|part| part.name() == name) {
                    Some(part) => options.parts.push(*part),
                    None => bail!("{name}: no part or option; --help lists them"),
                },
            }
        }
        if options.parts.is_empty() {
            options.parts = Part::ALL.to_vec();
        }
        Ok(Some(options))
    }

    /// Rounds of each comparison, at least one.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 }).max(1)
    }

    /// Whether a preset is to be measured.
    pub(crate) fn wants(&self, preset: &str) -> bool {
        self.presets
            .as_ref()
            .is_none_or(|presets| presets.iter().any(|p| p.eq_ignore_ascii_case(preset)))
    }

    /// A program of stock's.
    pub(crate) fn llama_tool(&self, name: &str) -> Result<PathBuf> {
        let dir = match &self.llama_tools {
            Some(dir) => dir.clone(),
            None => oracle::llama_tools()?,
        };
        let program = dir.join(name);
        if !program.exists() {
            bail!("{} is missing", program.display());
        }
        Ok(program)
    }

    /// The model to measure with, and its importance matrix.
    pub(crate) fn inputs(&self) -> Result<(PathBuf, PathBuf)> {
        let dir = oracle::home().join("benches");
        std::fs::create_dir_all(&dir)?;
        let model = match &self.model {
            Some(model) => model.clone(),
            None => {
                let path = dir.join("testbed-768-F16.gguf");
                if !path.exists() {
                    let source = oracle::testbed(768).context("no testbed")?;
                    run(quantsmith()?
                        .arg("convert")
                        .arg(source)
                        .arg(&path)
                        .args(["--outtype", "f16"]))?;
                }
                path
            }
        };
        let imatrix = match &self.imatrix {
            Some(imatrix) => imatrix.clone(),
            None => {
                let path = dir.join("imatrix.gguf");
                models::importance_of(&model)?.save(&path)?;
                path
            }
        };
        Ok((model, imatrix))
    }

    /// The model in a preset: itself, or a file in `dir` that is made where it is missing.
    pub(crate) fn in_preset(&self, preset: &str, dir: &Path) -> Result<PathBuf> {
        let (model, imatrix) = self.inputs()?;
        if preset == "F16" {
            return Ok(model);
        }
        let made = dir.join(format!("{preset}.gguf"));
        if !made.exists() {
            run(quantsmith()?
                .args(["quantize", "--imatrix"])
                .arg(&imatrix)
                .arg(&model)
                .arg(&made)
                .arg(preset))?;
        }
        Ok(made)
    }
}
