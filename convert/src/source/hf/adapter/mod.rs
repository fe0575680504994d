//! A LoRA adapter of PEFT as a source: pairs of matrices that are added to those of a base model.
//!
//! The base model's name table maps the names, as for its own tensors; its reordering of a matrix's rows is
//! that of the pair's output side (B), one of its columns that of the input side (A).

mod base;
mod pairs;
mod peft;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gguf::{Array, Metadata, TensorType, Value as GgufValue};
use serde_json::{Map, Value};

use self::base::BaseModel;
use self::pairs::{InputSide, Pairs};
use self::peft::{Peft, REMEDY};
use super::assemble::{Assembler, Content, PairSides};
use super::element::Element;
use super::gather::Gather;
use super::layout::Layout;
use super::outtype;
use super::parts::Parts;
use super::pytorch::PytorchFile;
use super::safetensors::SafetensorsFile;
use super::tensor_file::{Entry, TensorFile};
use super::{OutType, QUANTIZATION_VERSION, read_bytes, read_values};
use crate::arch::{self, Rows, View};
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
        let input = |message: String| Error::Input {
            path: config_path.clone(),
            message,
        };
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
        let base_config = crate::json::read_object(&base_path)?;
        let text = arch::multimodal::text_part(base_config);
        let (architecture, class) = arch::of_config(&base_path, &text.config)?;
        let (architecture, hparams) = architecture.hyperparameters_of(&base_path, text.config)?;

        let file = open_weights(dir)?;
        let pairs = Pairs::of(file.as_ref(), &peft)?;
        let alpha = pairs.alpha(peft.alpha()).map_err(input)?;
        let matrices: Vec<Option<TensorType>> = pairs
            .changed
            .values()
            .map(|&(_, entry)| &file.entries()[entry])
            .filter(|e| e.shape.len() >= 2)
            .map(|e| e.element().and_then(Element::tensor_type))
            .collect();
        let ty = options.outtype.decide(matrices.into_iter());
        let inputs = pairs.sides.iter().map(|(&offset, side)| {
            let shape = &file.entries()[side.entry].shape;
            (offset, shape.get(1).copied().unwrap_or(1))
        });
        let inputs: HashMap<u64, u64> = inputs.collect();
        let parts = Parts::of(file, pairs.changed);
        let mut assembler = Assembler::new(&parts, architecture, class, &hparams, ty);
        assembler.is_part = text.whole.is_some();
        assembler.pairs = Some(PairSides {
            inputs,
            ..PairSides::default()
        });
        let made = assembler.run_stored()?;
        let (own, others): (Vec<&String>, Vec<&String>) = made
            .left_out
            .iter()
            .partition(|name| text.whole.is_none() || arch::multimodal::text_name(name).is_some());
        if !others.is_empty() {
            warnings.push(format!(
                "{} pairs for weights that are not the text model's are left out: {}",
                others.len(),
                listed(others.iter())
            ));
        }
        let fail = |name: &str, message: String| Error::Input {
            path: dir.to_path_buf(),
            message: format!("tensor {name}: {message}"),
        };
        if let Some(name) = own.first() {
            return Err(fail(
                name,
                format!("the base model's conversion leaves this weight out; {REMEDY}"),
            ));
        }
        if !pairs.norms.is_empty() {
            warnings.push(format!(
                "{} norms are written, as the stock converter does, but llama.cpp does not apply them: {}; {REMEDY}",
                pairs.norms.len(),
                listed(pairs.norms.iter())
            ));
        }
        let base_model = BaseModel::of(&base, architecture, class, &hparams, text.whole.is_some());
        let mut without_effect = Vec::new();
        let (mut tensors, mut contents) = (Vec::new(), Vec::new());
        for (tensor, mut content) in made.tensors.into_iter().zip(made.contents) {
            let offsets = match &content {
                Content::Stored(b) => b.offsets(),
                Content::Gathered(b) => vec![b.offset()],
                Content::Computed(_)
                | Content::Combined(_)
                | Content::Joined(_)
                | Content::Ids(_)
                | Content::Mean(_) => Vec::new(),
            };
            let sides: Option<Vec<&InputSide>> = offsets.iter().map(|o| pairs.sides.get(o)).collect();
            let Some(sides) = sides else {
                // A norm. Other whole weights were refused.
                tensors.push(tensor);
                contents.push(content);
                continue;
            };
            let name = sides.first().map_or(&tensor.name, |s| &s.weight);
            for side in &sides {
                let b = &parts.tensors[&side.weight];
                let (a, b) = (&parts.files[0].entries()[side.entry], parts.entry(*b));
                base_model
                    .check(side, &tensor.name, (b.shape[0], a.shape[1]))
                    .map_err(|message| fail(&side.weight, message))?;
            }
            if architecture.hooks.is_unadapted(&tensor.name) {
                without_effect.push(name.clone());
            }
            let factor = factor_of(&sides, alpha).map_err(|message| fail(name, message))?;
            match &mut content {
                Content::Stored(layout) => layout.scale = factor,
                Content::Gathered(gather) => gather.scale = factor,
                Content::Computed(_)
                | Content::Combined(_)
                | Content::Joined(_)
                | Content::Ids(_)
                | Content::Mean(_) => {}
            }
            let entries: Vec<usize> = sides.iter().map(|s| s.entry).collect();
            let (a, a_shape) = match (made.views.get(&tensor.name), &entries[..]) {
                (Some(view), &[entry]) => {
                    rearranged_side(&parts, entry, view).map(|(g, shape)| (Content::Gathered(g), shape))
                }
                _ => input_side(&parts, &entries, tensor.name == "token_embd.weight")
                    .map(|(layout, shape)| (Content::Stored(layout), shape)),
            }
            .map_err(|message| fail(name, message))?;
            for (suffix, shape, side) in [("lora_a", a_shape, a), ("lora_b", tensor.shape.clone(), content)] {
                tensors.push(SourceTensor {
                    name: format!("{}.{suffix}", tensor.name),
                    ty: outtype::by_shape(ty, &shape),
                    shape,
                    shard: 0,
                });
                contents.push(side);
            }
        }
        if !without_effect.is_empty() {
            warnings.push(format!(
                "{} pairs are written, as the stock converter does, but llama.cpp's graph of {} multiplies by these \
                 weights alone: {}; {REMEDY}",
                without_effect.len(),
                architecture.gguf,
                listed(without_effect.iter())
            ));
        }

        let mut count = ParameterCount::of(&[]);
        count.adapter = true;
        count.total = adapted_weights(&tensors);
        let general = General::load(dir, options.model_name.as_deref(), None, count)?;
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", architecture.gguf);
        metadata.set("general.type", "adapter");
        metadata.set("adapter.type", "lora");
        general.write(&mut metadata);
        metadata.set("adapter.lora.alpha", alpha as f32);
        if let Some(tokens) = invocation_tokens(&config).map_err(input)? {
            metadata.set(
                "adapter.alora.invocation_tokens",
                GgufValue::Array(Array::U32(tokens)),
            );
        }
        metadata.set("general.quantization_version", QUANTIZATION_VERSION);
        Ok(Self {
            dir: dir.to_path_buf(),
            parts,
            metadata,
            tensors,
            contents,
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
            "the base model{} is not here: expected the directory of its config.json",
            named.map(|n| format!(" {n}")).unwrap_or_default()
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
    Err(Error::Input {
        path: dir.to_path_buf(),
        message: "no adapter_model.safetensors and no adapter_model.bin in this directory".to_owned(),
    })
}

/// The input side of a weight: `[rank, inputs]`, stacked where there are several; for embeddings, which are
/// looked up and not multiplied, columns become rows.
fn input_side(parts: &Parts, entries: &[usize], transposed: bool) -> Result<(Layout, Vec<u64>), String> {
    let file = &parts.files[0];
    let Some(first) = entries.first().map(|&e| &file.entries()[e]) else {
        return Err("no pair of matrices".to_owned());
    };
    let &[rank, inputs] = &first.shape[..] else {
        return Err(format!("shape {:?}, a matrix expected", first.shape));
    };
    let element = element_of(first)?;
    if transposed {
        let mut layout = Layout::new(element, rank);
        layout.transposed = true;
        layout.push((0, first.offset), &Rows::range(0, inputs));
        return Ok((layout, vec![rank, inputs]));
    }
    let mut layout = Layout::new(element, inputs);
    for &entry in entries {
        let entry = &file.entries()[entry];
        if entry.shape != first.shape || entry.dtype != first.dtype {
            return Err(format!(
                "{} {:?} beside {} {:?}",
                entry.name, entry.shape, first.name, first.shape
            ));
        }
        layout.push((0, entry.offset), &Rows::range(0, rank));
    }
    let mut shape = vec![inputs, rank];
    if entries.len() > 1 {
        shape.push(entries.len() as u64);
    }
    Ok((layout, shape))
}

/// The input side of a weight whose columns change places.
fn rearranged_side(parts: &Parts, entry: usize, view: &View) -> Result<(Gather, Vec<u64>), String> {
    let entry = &parts.files[0].entries()[entry];
    let gather = Gather::new(element_of(entry)?, (0, entry.offset), view);
    let gather = gather.ok_or_else(|| format!("{}: its blocks cannot be rearranged", entry.name))?;
    let mut shape = view.shape();
    shape.reverse();
    Ok((gather, shape))
}

fn element_of(entry: &Entry) -> Result<Element, String> {
    entry
        .element()
        .ok_or_else(|| format!("dtype {} is not supported", entry.dtype))
}

/// Factor of the output side, so that llama.cpp's scale is each pair's own.
fn factor_of(pairs: &[&InputSide], alpha: f64) -> Result<f32, String> {
    let Some(first) = pairs.first() else {
        return Err("no pair of matrices".to_owned());
    };
    if let Some(other) = pairs.iter().find(|p| p.alpha != first.alpha) {
        return Err(format!(
            "the pairs of {} and {} have different scales, which no stack can have; {REMEDY}",
            first.weight, other.weight
        ));
    }
    let factor = (first.alpha / alpha) as f32;
    match factor.is_finite() {
        true => Ok(factor),
        false => Err(format!("alpha {} beside {alpha} is too large", first.alpha)),
    }
}

/// Weights of the matrices that the pairs stand for, and of the norms.
fn adapted_weights(tensors: &[SourceTensor]) -> u64 {
    let mut inputs = 1;
    let mut total = 0u64;
    for tensor in tensors {
        let elements = tensor.shape.iter().fold(1u64, |n, &d| n.saturating_mul(d));
        if tensor.name.ends_with(".lora_a") {
            inputs = tensor.shape.first().copied().unwrap_or(1);
        } else if tensor.name.ends_with(".lora_b") {
            let rank = tensor.shape.first().copied().unwrap_or(1).max(1);
            total = total.saturating_add((elements / rank).saturating_mul(inputs));
        } else {
            total = total.saturating_add(elements);
        }
    }
    total
}

/// The tokens that switch an activated LoRA on.
fn invocation_tokens(config: &Map<String, Value>) -> Result<Option<Vec<u32>>, String> {
    let found = |key: &str| config.get(key).filter(|v| !v.is_null());
    if let Some(tokens) = found("alora_invocation_tokens") {
        let ids = tokens.as_array().and_then(|ids| {
            let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
            ids.iter().map(id).collect::<Option<Vec<u32>>>()
        });
        let ids = ids.ok_or("alora_invocation_tokens: token ids expected")?;
        return Ok((!ids.is_empty()).then_some(ids));
    }
    if found("invocation_string").is_some_and(|v| v.as_str() != Some("")) {
        return Err("invocation_string without alora_invocation_tokens is not supported".to_owned());
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
