//! Opening of a model or a draft: its graph, built from the file, and a file that other programs load too.

use std::path::{Path, PathBuf};

use gguf::GgufModel;

use crate::Result;
use crate::drafts::{self, Draft};
use crate::model::{self, Model};
use crate::requirements::{self, Completeness, Kind};
use crate::weights::Loader;

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
        let path = path_of(&gguf);
        let loader = Loader::new(&gguf, &path);
        let name = gguf.metadata().architecture();
        if drafts::draft_architectures().any(|draft| draft == name) {
            return Err(loader.error(format!(
                "key 'general.architecture': expected that of a model that runs by itself, found {name:?}, a draft, which goes on \
                 from the states of the model that it drafts for"
            )));
        }
        let Some(decoder) = model::build(name, &loader) else {
            let known: Vec<_> = model::architectures().collect();
            return Err(loader.error(format!(
                "key 'general.architecture': expected one that the forward pass has ({}), found {name:?}",
                known.join(", ")
            )));
        };
        let decoder = decoder?;
        if let Some(found) = unloadable(&gguf) {
            return Err(loader.error(found));
        }
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
        let path = path_of(&gguf);
        let loader = Loader::new(&gguf, &path);
        let name = gguf.metadata().architecture();
        let Some(graph) = drafts::build(name, &loader) else {
            let known: Vec<_> = drafts::draft_architectures().collect();
            return Err(loader.error(format!(
                "key 'general.architecture': expected that of a draft ({}), found {name:?}",
                known.join(", ")
            )));
        };
        let graph = graph?;
        if let Some(found) = unloadable(&gguf) {
            return Err(loader.error(found));
        }
        Ok(Self::new(gguf, path, graph))
    }
}

/// The path of a model's first file.
fn path_of(gguf: &GgufModel) -> PathBuf {
    let first = gguf.files().first();
    first.map(|file| file.path().to_owned()).unwrap_or_default()
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
