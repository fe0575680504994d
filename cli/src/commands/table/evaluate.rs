//! The unquantized model of `quantsmith table`: it makes the importance matrix, and the files are measured
//! against it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use convert::scratch::Scratch;
use convert::source::Source;
use convert::table::RowPlan;
use demo::{CALIBRATION_TEXT, EVALUATION_TEXT};
use imatrix::Accumulator;
use reference::calibration::{Calibration, collect};
use reference::tokenizer::Tokenizer;
use reference::{Model, PerplexityOptions, divergence};

use super::report::{Evaluation, Measured};
use super::{Args, pipeline_options};
use crate::args::rounding;
use crate::context::warn_of_length;
use crate::threads::in_pool;

/// Name of the bundled calibration text in importance matrices.
const BUNDLED_CALIBRATION: &str = "bundled calibration text";

/// Name of the calibration text, as an importance matrix of it records it.
pub(super) fn calibration_name(args: &Args) -> String {
    let file = args.calibration.as_ref();
    file.map_or_else(
        || BUNDLED_CALIBRATION.to_owned(),
        |path| path.display().to_string(),
    )
}

/// The texts of a run, each with its name, as far as they are needed.
pub(super) struct Texts {
    evaluation: Option<(String, String)>,
    calibration: Option<(String, String)>,
}

impl Texts {
    /// Reads them.
    pub(super) fn read(args: &Args, evaluate: bool, calibrate: bool) -> anyhow::Result<Self> {
        let of = |wanted: bool, file: &Option<PathBuf>, bundled: &str, name: &str| {
            wanted
                .then(|| text_or(file.as_deref(), bundled, name))
                .transpose()
        };
        Ok(Self {
            evaluation: of(evaluate, &args.text, EVALUATION_TEXT, "bundled text")?,
            calibration: of(
                calibrate,
                &args.calibration,
                CALIBRATION_TEXT,
                BUNDLED_CALIBRATION,
            )?,
        })
    }
}

/// The unquantized model, ready to run.
pub(super) struct Base {
    model: Model,
    tokenizer: Tokenizer,
    texts: Texts,
}

impl Base {
    /// Opens the source's own GGUF file, or makes one of a model directory, which is gone after use.
    pub(super) fn open(
        source: &dyn Source,
        directory: &Path,
        texts: Texts,
        args: &Args,
    ) -> anyhow::Result<Self> {
        let model = if source.path().is_dir() {
            let folder = Scratch::new(directory)?;
            let file = folder.path().join("base.gguf");
            crate::base::write_source(source, &file, &pipeline_options(args))?;
            // Once open, the file needs no name.
            Model::load(&file)?
        } else {
            Model::load(source.path())?
        };
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata())?;
        warn_of_length(model.gguf().metadata(), args.ctx_size);
        let base = Self {
            model,
            tokenizer,
            texts,
        };
        if let Some((_, name)) = &base.texts.calibration {
            let tokens = base.tokens(&base.texts.calibration);
            base.calibration(args).text(&tokens).context(name.clone())?;
        }
        if let Some((_, name)) = &base.texts.evaluation {
            let tokens = base.tokens(&base.texts.evaluation);
            base.options(args).check(&tokens).context(name.clone())?;
        }
        Ok(base)
    }

    /// The tokens of a text; none where there is none.
    fn tokens(&self, text: &Option<(String, String)>) -> Vec<u32> {
        let text = text.as_ref().map_or("", |(text, _)| text.as_str());
        self.tokenizer.encode(text, true, false)
    }

    fn calibration(&self, args: &Args) -> Calibration {
        let mut calibration = Calibration::new(args.ctx_size);
        calibration.bos = self.bos();
        calibration
    }

    fn options(&self, args: &Args) -> PerplexityOptions {
        PerplexityOptions {
            context: args.ctx_size,
            chunks: args.chunks.most(),
            bos: self.bos(),
            max_memory: args.memory.bytes(),
        }
    }

    /// The model.
    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// Replacement of the first token of each window.
    fn bos(&self) -> Option<u32> {
        self.tokenizer.bos().filter(|_| self.tokenizer.add_bos())
    }

    /// Makes an importance matrix.
    pub(super) fn calibrate(&self, file: &Path, args: &Args) -> anyhow::Result<()> {
        let tokens = self.tokens(&self.texts.calibration);
        let calibration = self.calibration(args);
        let window = u32::try_from(args.ctx_size).context("-c is too large")?;
        let mut collected = Accumulator::new(window);
        in_pool(args.threads, || {
            collect(
                &self.model,
                &tokens,
                &calibration,
                &mut collected,
                0,
                &mut |step| {
                    for (window, tensor) in &step.set_aside {
                        eprintln!(
                            "warning: window {window} is set aside: the inputs of {tensor} are not finite"
                        );
                    }
                    eprintln!("calibrated on {} of {} windows", step.done, step.of);
                    anyhow::Ok(())
                },
            )
        })??;
        let mut matrix = collected.totals().clone();
        matrix
            .datasets
            .extend(self.texts.calibration.iter().map(|(_, name)| name.clone()));
        Ok(matrix.save(file)?)
    }

    /// Runs this model and every file side by side over the evaluation text.
    pub(super) fn measure(
        self,
        source: &dyn Source,
        planned: &[RowPlan<'_>],
        args: &Args,
    ) -> anyhow::Result<Results> {
        let rounding = args.rounding.measuring();
        let tokens = self.tokens(&self.texts.evaluation);
        let options = self.options(args);
        let name = self
            .texts
            .evaluation
            .as_ref()
            .map_or_else(String::new, |(_, name)| name.clone());
        let base = self.model.with_rounding(rounding);
        let made = |row: &RowPlan<'_>| row.check().is_ok() && row.same_as.is_none();
        let distinct: Vec<usize> = (0..planned.len()).filter(|&i| made(&planned[i])).collect();
        let models = distinct
            .iter()
            .map(|&i| Ok(Model::load(&planned[i].path)?.with_rounding(rounding)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let seen = in_pool(args.threads, || {
            divergence::compare_until(&base, &models, &tokens, &options, args.precision, &mut |p| {
                eprintln!("evaluated {} of {} windows", p.windows, p.of);
            })
        })??;
        let statistics: Vec<divergence::Statistics> = seen
            .iter()
            .filter_map(|o| divergence::Statistics::of(o))
            .collect();
        // With --precision files may have run over different numbers of windows.
        let longest = statistics.iter().max_by_key(|s| s.count);
        let per_window = (args.ctx_size - args.ctx_size / 2 - 1).max(1);
        let evaluation = longest.map(|s| Evaluation {
            text: name,
            context: args.ctx_size,
            chunks: s.count / per_window,
            scored_tokens: s.count,
            rounding: rounding::name(rounding),
            precision: args.precision,
            base_type: base_type(source),
            base_ppl: s.ppl_base.value,
            base_ppl_error: s.ppl_base.error,
        });
        let of_row = |i: usize| {
            let original = planned[i].same_as.unwrap_or(i);
            distinct
                .iter()
                .position(|&d| d == original)
                .map(|at| Measured::new(&statistics[at], per_window))
        };
        Ok(((0..planned.len()).map(of_row).collect(), evaluation))
    }
}

/// The rows' results, in order, and the unquantized model's.
pub(super) type Results = (Vec<Option<Measured>>, Option<Evaluation>);

/// A file's text with its path, or else a bundled one with its name.
fn text_or(file: Option<&Path>, bundled: &str, name: &str) -> anyhow::Result<(String, String)> {
    match file {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Ok((text, path.display().to_string()))
        }
        None => Ok((bundled.to_owned(), name.to_owned())),
    }
}

/// The type that holds most of the source's weights.
fn base_type(source: &dyn Source) -> String {
    let mut weights = std::collections::BTreeMap::<&str, u64>::new();
    for t in source.tensors() {
        *weights.entry(t.ty.name()).or_default() += t.shape.iter().product::<u64>();
    }
    weights
        .into_iter()
        .max_by_key(|(_, n)| *n)
        .map_or_else(String::new, |(name, _)| name.to_owned())
}
