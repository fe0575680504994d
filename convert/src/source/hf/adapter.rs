//! A LoRA adapter of PEFT as a source: pairs of matrices that are added to those of a base model.
//!
//! The base model's name table maps the names, as for its own tensors; its reordering of a matrix's rows is
//! that of the pair's output side (B), and the input side (A) stays as it is.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gguf::{Array, Metadata, TensorType, Value as GgufValue};
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::assemble::{Assembler, Content};
use super::element::Element;
use super::layout::Layout;
use super::outtype;
use super::parts::Parts;
use super::pytorch::PytorchFile;
use super::safetensors::SafetensorsFile;
use super::tensor_file::TensorFile;
use super::{OutType, QUANTIZATION_VERSION, read_bytes, read_values};
use crate::arch::{self, Rows};
use crate::metadata::{General, ParameterCount};
use crate::source::{Source, SourceTensor};
use crate::{Error, Result};

/// What a user may want of an adapter's conversion.
#[derive(Clone, Debug, Default)]
pub struct AdapterOptions {
    /// The type of the matrices.
    pub outtype: OutType,
    /// The base model's directory, of which `config.json` is read; without it, the directory that the
    /// adapter names.
    pub base: Option<PathBuf>,
    /// `general.name`, instead of what the adapter's card and directory suggest.
    pub model_name: Option<String>,
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

/// The two halves of a pair, as entries of the file.
#[derive(Default)]
struct Pair {
    a: Option<usize>,
    b: Option<usize>,
}

/// What a tensor of an adapter is, and the name of the weight that it changes.
enum Role {
    A(String),
    B(String),
    Whole(String),
    Skipped,
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
        let alpha = config
            .get("lora_alpha")
            .and_then(Value::as_f64)
            .ok_or_else(|| input("no number \"lora_alpha\"".to_owned()))?;
        let mut warnings = Vec::new();
        if config.get("use_rslora") == Some(&Value::Bool(true)) {
            warnings.push(
                "use_rslora: llama.cpp scales by alpha / rank, not by alpha / sqrt(rank); give it a scale of \
                 sqrt(rank) when loading the adapter"
                    .to_owned(),
            );
        }
        let base = base_directory(options, &config).map_err(input)?;
        let base_path = base.join("config.json");
        let base_config = crate::json::read_object(&base_path)?;
        let text = arch::multimodal::text_part(base_config);
        let (architecture, class) = arch::of_config(&base_path, &text.config)?;
        let (architecture, hparams) = architecture.hyperparameters_of(&base_path, text.config)?;

        let file = open_weights(dir)?;
        let (changed, a_of) = pairs(file.as_ref())?;
        let matrices: Vec<Option<TensorType>> = changed
            .values()
            .map(|&(_, entry)| &file.entries()[entry])
            .filter(|e| e.shape.len() >= 2)
            .map(|e| e.element().and_then(Element::tensor_type))
            .collect();
        let ty = options.outtype.decide(matrices.into_iter());
        let parts = Parts::of(file, changed);
        let mut assembler = Assembler::new(&parts, architecture, class, &hparams, ty);
        assembler.is_part = text.whole.is_some();
        let made = assembler.run_stored()?;
        let (own, others): (Vec<&String>, Vec<&String>) = made
            .left_out
            .iter()
            .partition(|name| text.whole.is_none() || arch::multimodal::text_name(name).is_some());
        if let Some(name) = others.first() {
            warnings.push(format!(
                "{} pairs for weights that are not the text model's are left out, such as that of {name}",
                others.len()
            ));
        }
        if let Some(name) = own.first() {
            return Err(Error::Input {
                path: dir.to_path_buf(),
                message: format!("tensor {name}: the base model's conversion leaves this weight out"),
            });
        }
        let (mut tensors, mut contents) = (Vec::new(), Vec::new());
        for (tensor, content) in made.tensors.into_iter().zip(made.contents) {
            let Content::Stored(b) = content else { continue };
            if tensor.name.contains("_norm") {
                tensors.push(tensor);
                contents.push(Content::Stored(b));
                continue;
            }
            let fail = |message: &str| Error::Input {
                path: dir.to_path_buf(),
                message: format!("{}: {message}", tensor.name),
            };
            if b.transposed {
                return Err(fail(
                    "adapters of weights that are stored transposed are not supported",
                ));
            }
            let entries: Option<Vec<usize>> = b.offsets().iter().map(|o| a_of.get(o).copied()).collect();
            let entries = entries.ok_or_else(|| fail("no pair of matrices"))?;
            let (a, a_shape) = input_side(&parts, &entries, tensor.name == "token_embd.weight")
                .map_err(|message| fail(&message))?;
            for (suffix, shape, layout) in [("lora_a", a_shape, a), ("lora_b", tensor.shape.clone(), b)] {
                tensors.push(SourceTensor {
                    name: format!("{}.{suffix}", tensor.name),
                    ty: outtype::by_shape(ty, &shape),
                    shape,
                    shard: 0,
                });
                contents.push(Content::Stored(layout));
            }
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

    /// What the user should know about the adapter.
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
            "the base model{} is not here; name the directory of its config.json (--base)",
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

fn role(name: &str) -> Option<Role> {
    let base = name.replace("base_model.model.", "");
    for (part, embedding) in [(".lora_A.weight", false), (".lora_embedding_A", true)] {
        if base.contains(part) {
            return Some(Role::A(base.replace(part, ".weight")));
        }
        let part = if embedding {
            ".lora_embedding_B"
        } else {
            ".lora_B.weight"
        };
        if base.contains(part) {
            return Some(Role::B(base.replace(part, ".weight")));
        }
    }
    if name.contains(".base_layer.weight") {
        return Some(Role::Skipped);
    }
    // Tools that extract adapters add the norms.
    (name.contains("_layernorm") || name.contains(".norm")).then_some(Role::Whole(base))
}

/// The tensors that stand for weights (norms, then the B of each pair in the order of the pairs' first halves)
/// under the weights' names, and the A of each B by the B's offset.
type Changed = (IndexMap<String, (usize, usize)>, IndexMap<u64, usize>);

fn pairs(file: &dyn TensorFile) -> Result<Changed> {
    let input = |message: String| Error::Input {
        path: file.path().to_path_buf(),
        message,
    };
    let mut found: IndexMap<String, Pair> = IndexMap::new();
    let mut changed = IndexMap::new();
    for (index, entry) in file.entries().iter().enumerate() {
        match role(&entry.name) {
            Some(Role::A(base)) => found.entry(base).or_default().a = Some(index),
            Some(Role::B(base)) => found.entry(base).or_default().b = Some(index),
            Some(Role::Whole(base)) => {
                changed.insert(base, (0, index));
            }
            Some(Role::Skipped) => {}
            None => {
                return Err(input(format!(
                    "tensor {}: neither of a LoRA pair nor a norm; whole weights (new tokens, modules_to_save) \
                     and other kinds of adapters are not supported",
                    entry.name
                )));
            }
        }
    }
    let mut a_of = IndexMap::new();
    for (base, pair) in found {
        let (Some(a), Some(b)) = (pair.a, pair.b) else {
            return Err(input(format!(
                "weight {base}: only one half of its LoRA pair is there"
            )));
        };
        let (first, second) = (&file.entries()[a], &file.entries()[b]);
        let (&[rank, _], &[_, other]) = (&first.shape[..], &second.shape[..]) else {
            return Err(input(format!(
                "weight {base}: shapes {:?} and {:?}, two matrices expected",
                first.shape, second.shape
            )));
        };
        if rank != other {
            return Err(input(format!("weight {base}: ranks {rank} and {other}")));
        }
        a_of.insert(second.offset, a);
        changed.insert(base, (0, b));
    }
    Ok((changed, a_of))
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
    let element = first
        .element()
        .ok_or_else(|| format!("dtype {} is not supported", first.dtype))?;
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
