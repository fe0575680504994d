//! Opening of a model or a draft: its graph, built from the file, and a file that other programs load too.

use std::path::{Path, PathBuf};

use gguf::GgufModel;

use crate::drafts::{self, Draft};
use crate::model::{self, Model};
use crate::requirements::{self, Completeness, Kind};
use crate::weights::Loader;
use crate::{Error, Result};

impl Model {
    /// Opens a GGUF file (or the first of its shards).
    ///
    /// # Errors
    /// When the file is malformed, its architecture is not supported (the message lists those that are), or a
    /// key or tensor is missing or not as its architecture needs it.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_gguf(GgufModel::open(path)?)
    }

    /// [`Self::load`] of a model that is open already.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_gguf(gguf: GgufModel) -> Result<Self> {
        let (path, decoder) = built(&gguf, |name, loader| {
            if drafts::draft_architectures().any(|draft| draft == name) {
                return Err(loader.error(format!(
                    "key 'general.architecture': expected that of a model that runs by itself, found {name:?}, a draft, which goes \
                     on from the states of the model that it drafts for"
                )));
            }
            model::build(name, loader).unwrap_or_else(|| {
                let known = model::architectures();
                Err(unknown(name, loader, "one that the forward pass has", known))
            })
        })?;
        Ok(Self::new(gguf, path, decoder))
    }
}

impl Draft {
    /// Opens a GGUF file (or the first of its shards).
    ///
    /// # Errors
    /// When the file is malformed, its architecture is not that of a draft that can be run (the message lists those that
    /// are), or a key or tensor is missing or not as its architecture needs it.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_gguf(GgufModel::open(path)?)
    }

    /// [`Self::load`] of a model that is open already.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_gguf(gguf: GgufModel) -> Result<Self> {
        let (path, graph) = built(&gguf, |name, loader| {
            drafts::build(name, loader).unwrap_or_else(|| {
                let known = drafts::draft_architectures();
                Err(unknown(name, loader, "that of a draft", known))
            })
        })?;
        Ok(Self::new(gguf, path, graph))
    }
}

/// The path of a model's first file, and what `build` makes of its architecture, if other programs load it too.
fn built<T>(gguf: &GgufModel, build: impl FnOnce(&str, &Loader<'_>) -> Result<T>) -> Result<(PathBuf, T)> {
    let first = gguf.files().first();
    let path = first.map(|file| file.path().to_owned()).unwrap_or_default();
    let loader = Loader::new(gguf, &path);
    let made = build(gguf.metadata().architecture(), &loader)?;
    match unloadable(gguf) {
        Some(found) => Err(loader.error(found)),
        None => Ok((path, made)),
    }
}

/// The error of an architecture that is none of the known ones.
fn unknown(
    name: &str,
    loader: &Loader<'_>,
    expected: &str,
    known: impl Iterator<Item = &'static str>,
) -> Error {
    let known: Vec<_> = known.collect();
    loader.error(format!(
        "key 'general.architecture': expected {expected} ({}), found {name:?}",
        known.join(", ")
    ))
}

/// Why no other program would load a model that runs here. A vocabulary is not needed to run, a tensor too many does
/// not change what is computed, and a size that llama.cpp does not know is the model's own.
fn unloadable(gguf: &GgufModel) -> Option<String> {
    let Completeness::Checked(found) = requirements::check(gguf.metadata(), gguf.tensors().map(|t| t.info))
    else {
        return None;
    };
    let first = found.iter().find(|shortfall| {
        !matches!(shortfall.kind(), Kind::NotAskedFor | Kind::Size)
            && !shortfall.subject().starts_with("tokenizer.")
    })?;
    Some(first.to_string())
}
