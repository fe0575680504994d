//! The modules that sentence-transformers puts behind a model: `modules.json` and its folders.

use std::path::{Component, Path};
use std::sync::Arc;

use serde_json::Value;

use super::parts::{Parts, Place};
use super::safetensors::SafetensorsFile;
use super::tensor_file::TensorFile;
use crate::arch::{Architecture, DenseModule};
use crate::listed::listed;
use crate::{Error, Result};

/// The option that converts dense modules ([`super::HfOptions::sentence_modules`]), for messages.
const OPTION: &str = "sentence_modules";

/// Most modules that are looked at.
const MAX_MODULES: usize = 64;

/// An entry of `modules.json`.
struct Module {
    /// The last part of the type's name, such as `Dense`.
    kind: String,
    /// The folder, empty for the model's own.
    path: String,
}

/// Use of a directory's modules.
#[derive(Default)]
pub(super) struct Modules {
    modules: Vec<Module>,
    /// The dense modules that are converted.
    pub(super) dense: Vec<DenseModule>,
    /// Whether they are wanted.
    wanted: bool,
}

impl Modules {
    /// # Errors
    /// A malformed `modules.json`; a dense module that is wanted and that no file of this architecture can hold.
    pub(super) fn read(dir: &Path, architecture: &Architecture, wanted: bool) -> Result<Self> {
        let path = dir.join("modules.json");
        let modules = if path.is_file() {
            entries(&path)?
        } else {
            Vec::new()
        };
        // Where nobody asks for them, there may be none.
        let has_any = modules.iter().any(|m| m.kind == "Dense");
        let mut modules = Self {
            modules,
            dense: Vec::new(),
            wanted: wanted && (has_any || !architecture.hooks.always_dense),
        };
        if wanted {
            let dense = modules.modules.iter().filter(|m| m.kind == "Dense");
            let dense: Result<Vec<DenseModule>> = dense.map(|m| dense_module(dir, architecture, m)).collect();
            modules.dense = dense?;
        }
        Ok(modules)
    }

    /// Puts the weights of the dense modules before the model's own, as the stock converter orders them.
    ///
    /// # Errors
    /// A file that cannot be read, weights of another shape than the module's configuration says.
    pub(super) fn add_to(&self, parts: &mut Parts, dir: &Path, headers_suffice: bool) -> Result<()> {
        for (place, module) in self.dense.iter().enumerate() {
            let path = dir.join(module.folder).join("model.safetensors");
            let file = SafetensorsFile::open(&path, headers_suffice)?;
            let input = |message: String| Error::input(&path, message);
            for (index, entry) in file.entries().iter().enumerate() {
                if entry.name != "linear.weight" {
                    return Err(input(format!(
                        "tensor '{}': expected linear.weight and nothing else, which llama.cpp's dense modules have",
                        entry.name
                    )));
                }
                let expected = [u64::from(module.outputs), u64::from(module.inputs)];
                if entry.shape != expected {
                    return Err(input(format!(
                        "tensor '{}': expected the shape {expected:?} of config.json, found {:?}",
                        entry.name, entry.shape
                    )));
                }
                let name = format!("{}.weight", module.gguf);
                let at = Place {
                    file: parts.files.len(),
                    entry: index,
                };
                parts.tensors.shift_insert(place, name, at);
            }
            if file.entries().is_empty() {
                return Err(input("expected a tensor 'linear.weight', found none".to_owned()));
            }
            parts.files.push(Arc::new(file));
        }
        Ok(())
    }

    /// Warnings of modules that are not in the output. `is_pooled` says whether the pooling is.
    pub(super) fn warnings(&self, is_pooled: bool) -> Vec<String> {
        let name = |m: &Module| match m.path.is_empty() {
            true => m.kind.clone(),
            false => format!("{} ({})", m.path, m.kind),
        };
        let mut warnings = Vec::new();
        let dense = self.modules.iter().filter(|m| m.kind == "Dense");
        let dense: Vec<String> = dense.map(name).collect();
        if self.wanted && dense.is_empty() {
            warnings.push(format!("{OPTION}: modules.json names no Dense module"));
        }
        if !self.wanted && !dense.is_empty() {
            warnings.push(format!(
                "modules.json: {} not converted, so embeddings are those before it; {OPTION} converts dense modules",
                listed(dense.iter())
            ));
        }
        let is_used = |m: &Module| match m.kind.as_str() {
            "Transformer" | "Dense" => true,
            "Pooling" => is_pooled,
            _ => false,
        };
        let unused: Vec<String> = self.modules.iter().filter(|m| !is_used(m)).map(name).collect();
        if !unused.is_empty() {
            let normalizes = unused.len() == 1 && self.modules.iter().any(|m| m.kind == "Normalize");
            warnings.push(format!(
                "modules.json: not part of a GGUF file: {}{}",
                listed(unused.iter()),
                if normalizes {
                    "; llama.cpp's tools normalize by themselves"
                } else {
                    ""
                }
            ));
        }
        warnings
    }
}

fn entries(path: &Path) -> Result<Vec<Module>> {
    let input = |message: String| Error::input(path, message);
    let value = crate::json::read(path)?;
    let list = value
        .as_array()
        .ok_or_else(|| input("expected a list of modules, found none".to_owned()))?;
    if list.len() > MAX_MODULES {
        return Err(input(format!(
            "expected at most {MAX_MODULES} modules, found {}",
            list.len()
        )));
    }
    let mut modules = Vec::new();
    for entry in list {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let kind = text("type")
            .ok_or_else(|| input("expected the \"type\" of each module, found none of one".to_owned()))?;
        let path = text("path").unwrap_or("");
        if !Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(_)))
        {
            return Err(input(format!(
                "expected a folder of this directory, found {path:?}"
            )));
        }
        modules.push(Module {
            kind: kind.rsplit('.').next().unwrap_or(kind).to_owned(),
            path: path.to_owned(),
        });
    }
    Ok(modules)
}

/// A dense module, as far as llama.cpp's graph has a place for it.
fn dense_module(dir: &Path, architecture: &Architecture, module: &Module) -> Result<DenseModule> {
    let path = dir.join(&module.path).join("config.json");
    let input = |message: String| Error::input(&path, message);
    let places = architecture.hooks.dense_modules;
    let Some(&(folder, gguf)) = places.iter().find(|(folder, _)| *folder == module.path) else {
        let expected = match places.is_empty() {
            true => "none has one".to_owned(),
            false => format!("{} have one", listed(places.iter().map(|(folder, _)| *folder))),
        };
        return Err(Error::input(
            dir.join("modules.json"),
            format!(
                "{OPTION}: no place for {} in a file of {}; {expected}",
                module.path, architecture.gguf
            ),
        ));
    };
    let config = crate::json::read_object(&path)?;
    let width = |key: &str| {
        let found = config.get(key).unwrap_or(&Value::Null);
        let width = found
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .filter(|&n| n > 0);
        width.ok_or_else(|| input(format!("{key}: expected a positive integer, found {found}")))
    };
    if config.get("bias") == Some(&Value::Bool(true)) {
        return Err(input(
            "bias: expected false, found true: llama.cpp's dense modules have none".to_owned(),
        ));
    }
    if let Some(activation) = config.get("activation_function").and_then(Value::as_str)
        && !activation.ends_with("Identity")
    {
        return Err(input(format!(
            "activation_function: expected none, found {activation}: llama.cpp's dense modules have none"
        )));
    }
    Ok(DenseModule {
        folder,
        gguf,
        inputs: width("in_features")?,
        outputs: width("out_features")?,
    })
}
