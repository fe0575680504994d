//! A LoRA adapter of PEFT as a source: pairs of matrices that are added to those of a base model.
//!
//! The base model's name table maps the names, as for its own tensors; its reordering of a matrix's rows is
//! that of the pair's output side (B), one of its columns that of the input side (A).

mod base;
mod pairs;
mod peft;
mod sides;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gguf::{Array, Metadata, TensorType, Value as GgufValue};
use serde_json::{Map, Value};

use self::base::BaseModel;
use self::pairs::Pairs;
use self::peft::{Peft, REMEDY};
use self::sides::{Sides, Written};
use super::OutType;
use super::assemble::{Assembler, PairSides};
use super::content::{Content, read_bytes, read_values};
use super::element::Element;
use super::open::QUANTIZATION_VERSION;
use super::outtype;
use super::parts::Parts;
use super::pytorch::PytorchFile;
use super::safetensors::SafetensorsFile;
use super::tensor_file::TensorFile;
use crate::arch;
use crate::listed::listed;
use crate::metadata::{General, ParameterCount};
use crate::source::{Source, SourceTensor};
use crate::{Error, Remedy, Result};

/// Options for an adapter's conversion.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AdapterOptions {
    /// The type of the matrices.
    pub outtype: OutType,
    /// The base model's directory, of which `config.json` is read; without it, the directory that the
    /// adapter names.
    pub base: Option<PathBuf>,
    /// `general.name`, instead of what the adapter's card and directory suggest.
    pub model_name: Option<String>,
}

gguf::setters! {
    AdapterOptions {
        outtype: OutType,
        base: Option<PathBuf>,
        model_name: Option<String>,
    }
}

/// An adapter, with headers read and nothing else.
#[derive(Debug)]
pub struct AdapterSource {
    dir: PathBuf,
    parts: Parts,
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
    contents: Vec<Content>,
    general: General,
    ty: TensorType,
    warnings: Vec<String>,
}

impl AdapterSource {
    /// Opens an adapter's directory: `adapter_config.json`, and `adapter_model.safetensors` or
    /// `adapter_model.bin`.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file, and the tensor or key, for whatever is missing, malformed or not
    /// supported.
    pub fn open(dir: &Path, options: &AdapterOptions) -> Result<Self> {
        let config_path = dir.join("adapter_config.json");
        let config = crate::json::read_object(&config_path)?;
        let input = |message: String| Error::input(&config_path, message);
        let peft = Peft::of(&config).map_err(input)?;
        let mut warnings = Vec::new();
        if !peft.unknown.is_empty() {
            warnings.push(format!(
                "adapter_config.json: not known and not used: {}",
                peft.unknown.join(", ")
            ));
        }
        let base =
            base_directory(options, &config).map_err(|message| input(message).avoided_by(Remedy::Base))?;
        let base_path = base.join("config.json");
        let text = arch::multimodal::text_part(crate::json::read_object(&base_path)?);
        let (architecture, class) = arch::of_config(&base_path, &text.config)?;
        let (architecture, hparams) = architecture.hyperparameters_of(&base_path, text.config)?;

        let file = open_weights(dir)?;
        let pairs = Pairs::of(file.as_ref(), &peft)?;
        let alpha = pairs.alpha(peft.alpha()).map_err(input)?;
        let ty = options
            .outtype
            .decide(matrix_types(file.as_ref(), &pairs).into_iter());
        let inputs = inputs_of(file.as_ref(), &pairs);
        let parts = Parts::of(file, pairs.changed);
        let mut assembler = Assembler::new(&parts, architecture, class, &hparams, ty);
        assembler.is_part = text.whole.is_some();
        assembler.pairs = Some(PairSides {
            inputs,
            ..PairSides::default()
        });
        let made = assembler.run_stored()?;
        check_left_out(dir, &made.left_out, text.whole.is_some(), &mut warnings)?;
        if !pairs.norms.is_empty() {
            warnings.push(format!(
                "{} norms are written, as the stock converter does, but llama.cpp does not apply them: {}; {REMEDY}",
                pairs.norms.len(),
                listed(pairs.norms.iter())
            ));
        }
        let written = Written::of(
            dir,
            made,
            &Sides {
                parts: &parts,
                pairs: &pairs.sides,
                base: BaseModel::of(&base, architecture, class, &hparams, text.whole.is_some()),
                architecture,
                alpha,
                ty,
            },
        )?;
        if !written.without_effect.is_empty() {
            warnings.push(format!(
                "{} pairs are written, as the stock converter does, but llama.cpp's graph of {} multiplies by these \
                 weights alone: {}; {REMEDY}",
                written.without_effect.len(),
                architecture.gguf,
                listed(written.without_effect.iter())
            ));
        }
        let count = ParameterCount::of_adapter(written.weights());
        let general = General::load(dir, options.model_name.as_deref(), None, count)?;
        let tokens = invocation_tokens(&config).map_err(input)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            metadata: metadata(architecture.gguf, &general, alpha, tokens),
            parts,
            tensors: written.tensors,
            contents: written.contents,
            general,
            ty,
            warnings,
        })
    }

    /// Warnings about the adapter.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The type of the matrices, as decided from [`AdapterOptions::outtype`].
    pub fn matrix_type(&self) -> TensorType {
        self.ty
    }

    /// The file name that the stock converter would give the output.
    pub fn default_file_name(&self) -> String {
        self.general
            .adapter_file_name(&outtype::file_name_part(self.ty, None))
    }
}

/// All keys of the output.
fn metadata(architecture: &str, general: &General, alpha: f64, tokens: Option<Vec<u32>>) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", architecture);
    metadata.set("general.type", "adapter");
    metadata.set("adapter.type", "lora");
    general.write(&mut metadata);
    metadata.set("adapter.lora.alpha", alpha as f32);
    if let Some(tokens) = tokens {
        metadata.set(
            "adapter.alora.invocation_tokens",
            GgufValue::Array(Array::U32(tokens)),
        );
    }
    metadata.set("general.quantization_version", QUANTIZATION_VERSION);
    metadata
}

/// The types that hold the matrices of the output sides as they are.
fn matrix_types(file: &dyn TensorFile, pairs: &Pairs) -> Vec<Option<TensorType>> {
    pairs
        .changed
        .values()
        .map(|at| &file.entries()[at.entry])
        .filter(|e| e.shape.len() >= 2)
        .map(|e| e.element().and_then(Element::tensor_type))
        .collect()
}

/// Columns of each weight, by the position of its pair's output side.
fn inputs_of(file: &dyn TensorFile, pairs: &Pairs) -> HashMap<u64, u64> {
    let inputs = pairs.sides.iter().map(|(&offset, side)| {
        let shape = &file.entries()[side.entry].shape;
        (offset, shape.get(1).copied().unwrap_or(1))
    });
    inputs.collect()
}

/// Notes the pairs that are not the text model's, of a checkpoint that `is_more` than it.
///
/// # Errors
/// A weight of the text model that the base model's conversion leaves out.
fn check_left_out(dir: &Path, left_out: &[String], is_more: bool, warnings: &mut Vec<String>) -> Result<()> {
    let (own, others): (Vec<&String>, Vec<&String>) = left_out
        .iter()
        .partition(|name| !is_more || arch::multimodal::text_name(name).is_some());
    if !others.is_empty() {
        warnings.push(format!(
            "{} pairs for weights that are not the text model's are left out: {}",
            others.len(),
            listed(others.iter())
        ));
    }
    match own.first() {
        Some(name) => Err(Error::input(
            dir,
            format!(
                "tensor '{name}': expected a weight that the base model's conversion keeps, found one that it leaves out; \
                 {REMEDY}"
            ),
        )),
        None => Ok(()),
    }
}

/// The base model's directory: the one asked for, or the one that the adapter names, if it is here.
fn base_directory(options: &AdapterOptions, config: &Map<String, Value>) -> Result<PathBuf, String> {
    if let Some(base) = &options.base {
        return Ok(base.clone());
    }
    let named = config.get("base_model_name_or_path").and_then(Value::as_str);
    let named = named.filter(|n| !n.is_empty());
    match named.map(PathBuf::from) {
        Some(path) if path.join("config.json").is_file() => Ok(path),
        _ => Err(format!(
            "base_model_name_or_path: expected the directory of the base model's config.json, found {}",
            named.map_or_else(|| "none".to_owned(), |n| format!("{n:?}, which is not here"))
        )),
    }
}

fn open_weights(dir: &Path) -> Result<Arc<dyn TensorFile>> {
    let path = dir.join("adapter_model.safetensors");
    if path.is_file() {
        return Ok(Arc::new(SafetensorsFile::open(&path, false)?));
    }
    let path = dir.join("adapter_model.bin");
    if path.is_file() {
        return Ok(Arc::new(PytorchFile::open(&path)?));
    }
    Err(Error::input(
        dir,
        "expected adapter_model.safetensors or adapter_model.bin in this directory, found neither",
    ))
}

/// The tokens that switch an activated LoRA on.
fn invocation_tokens(config: &Map<String, Value>) -> Result<Option<Vec<u32>>, String> {
    let found = |key: &str| config.get(key).filter(|v| !v.is_null());
    if let Some(tokens) = found("alora_invocation_tokens") {
        let ids = tokens.as_array().and_then(|ids| {
            let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
            ids.iter().map(id).collect::<Option<Vec<u32>>>()
        });
        let ids = ids.ok_or("alora_invocation_tokens: expected token ids, found others")?;
        return Ok((!ids.is_empty()).then_some(ids));
    }
    if found("invocation_string").is_some_and(|v| v.as_str() != Some("")) {
        return Err("expected alora_invocation_tokens beside invocation_string, found none".to_owned());
    }
    Ok(None)
}

impl Source for AdapterSource {
    fn path(&self) -> &Path {
        &self.dir
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        read_values(
            &self.parts,
            &self.tensors[tensor],
            &self.contents[tensor],
            &rows,
            out,
        )
    }

    fn raw_rows(&self, tensor: usize, rows: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        read_bytes(&self.parts, &self.tensors[tensor], &self.contents[tensor], &rows)
    }
}
