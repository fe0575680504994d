//! Conversion and quantization of whole models.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use quantsmith::convert::importance::{Importance, MissingImportance, Selection};
use quantsmith::convert::pipeline::{DEFAULT_MAX_MEMORY, PipelineOptions, execute};
use quantsmith::convert::plan::OutputPlan;
use quantsmith::convert::quantize::{self, QuantizeOptions};
use quantsmith::convert::recipe::{PRESETS, Preset, RecipeOptions, TensorTypeRule};
use quantsmith::convert::source::hf::{HfOptions, HfSource, OutType};
use quantsmith::convert::source::{GgufSource, Source};
use quantsmith::convert::table::{self as tables, TableOptions};
use quantsmith::convert::{Error, Result};

use crate::cancel::{self, Watch};
use crate::errors::{IntoPy, RequestError};
use crate::values::tensor_type;

/// Names of the presets.
#[pyfunction]
pub(crate) fn presets() -> Vec<&'static str> {
    PRESETS.iter().map(|p| p.name).collect()
}

fn preset(name: &str) -> PyResult<Preset> {
    Preset::parse(name).ok_or_else(|| {
        RequestError::new_err(format!(
            "preset {name:?} is unknown; these are: {}",
            presets().join(", ")
        ))
    })
}

/// Arguments that quantizing calls share.
struct Request {
    recipe: RecipeOptions,
    allow_requantize: bool,
    allow_incomplete: bool,
    missing_importance: MissingImportance,
    imatrix: Option<PathBuf>,
    pipeline: PipelineOptions,
}

impl Request {
    #[allow(
        clippy::too_many_arguments,
        reason = "the keyword arguments of the Python functions"
    )]
    fn new(
        preset: Preset,
        imatrix: Option<PathBuf>,
        tensor_types: Option<Vec<(String, String)>>,
        output_tensor_type: Option<&str>,
        token_embedding_type: Option<&str>,
        pure: bool,
        allow_requantize: bool,
        allow_incomplete: bool,
        missing_uniform: bool,
        threads: usize,
        max_memory: Option<u64>,
    ) -> PyResult<Self> {
        let mut rules = Vec::new();
        for (pattern, ty) in tensor_types.unwrap_or_default() {
            rules.push(TensorTypeRule::new(&pattern, tensor_type(&ty)?).map_err(IntoPy::into_py)?);
        }
        Ok(Self {
            recipe: RecipeOptions::new(preset)
                .pure(pure)
                .output_tensor_type(output_tensor_type.map(tensor_type).transpose()?)
                .token_embedding_type(token_embedding_type.map(tensor_type).transpose()?)
                .tensor_types(rules),
            allow_requantize,
            allow_incomplete,
            missing_importance: match missing_uniform {
                true => MissingImportance::Uniform,
                false => MissingImportance::Error,
            },
            imatrix,
            pipeline: pipeline(threads, max_memory),
        })
    }

    fn options(&self) -> QuantizeOptions {
        QuantizeOptions::new(self.recipe.preset)
            .recipe(self.recipe.clone())
            .allow_requantize(self.allow_requantize)
            .allow_incomplete(self.allow_incomplete)
            .missing_importance(self.missing_importance)
    }

    fn importance(&self) -> Result<Option<Importance>> {
        match &self.imatrix {
            Some(path) => Importance::load(path, &Selection::All),
            None => Ok(None),
        }
    }

    fn run(&self, source: &dyn Source, output: &Path, watch: &Watch) -> Result<Vec<PathBuf>> {
        let source = watch.source(source);
        let importance = self.importance()?;
        let plan = quantize::plan(&source, output, &self.options(), importance.as_ref())?;
        quantize::run(&source, &plan, &self.pipeline, None, &|p| {
            watch.note(p.done, p.total)
        })?;
        Ok(plan.outputs.iter().map(|o| o.path.clone()).collect())
    }
}

fn pipeline(threads: usize, max_memory: Option<u64>) -> PipelineOptions {
    PipelineOptions::default()
        .threads(threads)
        .max_memory(max_memory.unwrap_or(DEFAULT_MAX_MEMORY))
}

fn open_directory(
    dir: &Path,
    outtype: OutType,
    model_name: Option<String>,
    mmproj: bool,
) -> Result<HfSource> {
    let options = HfOptions::default()
        .outtype(outtype)
        .model_name(model_name)
        .mmproj(mmproj);
    HfSource::open(dir, &options)
}

fn first(mut files: Vec<PathBuf>) -> Result<PathBuf> {
    match files.is_empty() {
        true => Err(Error::Request("nothing was written".into())),
        false => Ok(files.swap_remove(0)),
    }
}

/// Converts a Hugging Face directory to a GGUF file and returns its path. `outtype` is one of the stock converter's
/// ("f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0", "auto") or a preset, to quantize in the same pass.
#[pyfunction]
#[pyo3(signature = (model_dir, output = None, *, outtype = "auto", imatrix = None, tensor_types = None,
    output_tensor_type = None, token_embedding_type = None, pure = false, allow_requantize = false,
    missing_uniform = false, model_name = None, mmproj = false, threads = 0, max_memory = None, progress = None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments")]
pub(crate) fn convert(
    py: Python<'_>,
    model_dir: PathBuf,
    output: Option<PathBuf>,
    outtype: &str,
    imatrix: Option<PathBuf>,
    tensor_types: Option<Vec<(String, String)>>,
    output_tensor_type: Option<&str>,
    token_embedding_type: Option<&str>,
    pure: bool,
    allow_requantize: bool,
    missing_uniform: bool,
    model_name: Option<String>,
    mmproj: bool,
    threads: usize,
    max_memory: Option<u64>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<PathBuf> {
    let rules = imatrix.is_some()
        || tensor_types.is_some()
        || output_tensor_type.is_some()
        || token_embedding_type.is_some()
        || pure
        || allow_requantize
        || missing_uniform;
    if let Some(stock) = OutType::from_name(outtype).filter(|_| !rules) {
        let pipeline = pipeline(threads, max_memory);
        return cancel::run(py, progress, |watch| {
            let source = open_directory(&model_dir, stock, model_name, mmproj)?;
            let target = output.unwrap_or_else(|| {
                model_dir.join(source.default_file_name(Some(source.matrix_type().name())))
            });
            let source = watch.source(&source);
            let plan = OutputPlan::unquantized(target.clone(), &source, Vec::new())?;
            execute(&source, &[plan], &pipeline, &|p| watch.note(p.done, p.total))?;
            Ok::<_, Error>(target)
        });
    }
    let preset = preset(outtype)?;
    if mmproj {
        return Err(RequestError::new_err(
            "an image encoder is not quantized: mmproj takes no preset",
        ));
    }
    let request = Request::new(
        preset,
        imatrix,
        tensor_types,
        output_tensor_type,
        token_embedding_type,
        pure,
        allow_requantize,
        false,
        missing_uniform,
        threads,
        max_memory,
    )?;
    cancel::run(py, progress, |watch| {
        let source = open_directory(&model_dir, OutType::Lossless, model_name, false)?;
        let target = output.unwrap_or_else(|| model_dir.join(source.default_file_name(Some(preset.name()))));
        first(request.run(&source, &target, watch)?)
    })
}

/// Quantizes a GGUF file as llama-quantize does, byte for byte, and returns the output's path.
#[pyfunction]
#[pyo3(signature = (input, output, preset, *, imatrix = None, tensor_types = None, output_tensor_type = None,
    token_embedding_type = None, pure = false, allow_requantize = false, allow_incomplete = false,
    missing_uniform = false, threads = 0, max_memory = None, progress = None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments")]
pub(crate) fn quantize_file(
    py: Python<'_>,
    input: PathBuf,
    output: PathBuf,
    preset: &str,
    imatrix: Option<PathBuf>,
    tensor_types: Option<Vec<(String, String)>>,
    output_tensor_type: Option<&str>,
    token_embedding_type: Option<&str>,
    pure: bool,
    allow_requantize: bool,
    allow_incomplete: bool,
    missing_uniform: bool,
    threads: usize,
    max_memory: Option<u64>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<PathBuf> {
    let request = Request::new(
        self::preset(preset)?,
        imatrix,
        tensor_types,
        output_tensor_type,
        token_embedding_type,
        pure,
        allow_requantize,
        allow_incomplete,
        missing_uniform,
        threads,
        max_memory,
    )?;
    cancel::run(py, progress, |watch| {
        let source = GgufSource::open(&input)?;
        first(request.run(&source, &output, watch)?)
    })
}

/// Writes many presets of a model (a directory or a GGUF file) in one pass over its weights. `presets` is "published",
/// "all" or a list of names. Returns a dict for each row: preset, file, size_bytes, bits_per_weight, substituted …,
/// and `error` where a row cannot be made.
#[pyfunction]
#[pyo3(signature = (model, directory, *, presets = None, name = None, imatrix = None, threads = 0, max_memory = None,
    progress = None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments")]
pub(crate) fn table<'py>(
    py: Python<'py>,
    model: PathBuf,
    directory: PathBuf,
    presets: Option<Vec<String>>,
    name: Option<String>,
    imatrix: Option<PathBuf>,
    threads: usize,
    max_memory: Option<u64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let entries = match presets.as_deref() {
        None => tables::published(),
        Some([one]) if one == "published" => tables::published(),
        Some([one]) if one == "all" => tables::all(),
        Some(names) => tables::parse_entries(&names.join(",")).map_err(IntoPy::into_py)?,
    };
    let pipeline = pipeline(threads, max_memory);
    let rows = cancel::run(py, progress, |watch| {
        let source: Box<dyn Source> = match model.is_dir() {
            true => Box::new(open_directory(&model, OutType::Lossless, None, false)?),
            false => Box::new(GgufSource::open(&model)?),
        };
        let source = watch.source(source.as_ref());
        let stem = model.file_stem().map_or("model".into(), |s| s.to_string_lossy());
        let named = name.unwrap_or_else(|| stem.into_owned());
        let importance = match &imatrix {
            Some(path) => Importance::load(path, &Selection::All)?,
            None => None,
        };
        std::fs::create_dir_all(&directory).map_err(|source| Error::Io {
            path: directory.clone(),
            source,
        })?;
        let options = TableOptions::new(entries, directory, named);
        let planned = tables::plan(&source, &options, importance.as_ref())?;
        tables::execute(&source, &planned, &pipeline, None, &|p| {
            watch.note(p.done, p.total)
        })?;
        let rows = serde_json::to_string(&tables::rows(&planned));
        rows.map_err(|e| Error::Request(e.to_string()))
    })?;
    py.import("json")?.call_method1("loads", (rows,))
}
