//! Draft models: what they expect of a text by the states of the model that they draft for.

mod eagle3;
mod states;
mod vocabulary;

use std::path::{Path, PathBuf};

use gguf::{Array, GgufModel, Value};

pub(crate) use self::eagle3::{EAGLE3_LAYERS, Eagle3};
pub use self::states::States;
use crate::model::Logits;
use crate::run::Run;
use crate::weights::Loader;
use crate::{Error, Result};

/// A draft model, which has no sense without its target: the model whose states it goes on from ([`States`]).
#[derive(Debug)]
pub struct Draft {
    gguf: GgufModel,
    path: PathBuf,
    layers: Vec<usize>,
    graph: Eagle3,
}

/// The values of `general.architecture` that [`Draft`] can run.
pub fn draft_architectures() -> impl Iterator<Item = &'static str> {
    ["eagle3"].into_iter()
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
        let path = gguf.files().first().map(|f| f.path().to_owned());
        let path = path.unwrap_or_default();
        let loader = Loader::new(&gguf, &path);
        let name = gguf.metadata().architecture();
        if !draft_architectures().any(|known| known == name) {
            let known: Vec<_> = draft_architectures().collect();
            return Err(loader.error(format!(
                "key 'general.architecture': expected that of a draft ({}), found {name:?}",
                known.join(", ")
            )));
        }
        let layers = target_layers(&gguf, &loader)?;
        let graph = Eagle3::build(&loader)?;
        if let Some(found) = crate::open::unloadable(&gguf) {
            return Err(loader.error(found));
        }
        Ok(Self {
            gguf,
            path,
            layers,
            graph,
        })
    }

    /// The file.
    pub fn gguf(&self) -> &GgufModel {
        &self.gguf
    }

    /// Layers of the target whose inputs the draft reads, in its order ([`crate::Model::states_for`]).
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// The logits of every token of each window but the first, beside the states of the token before it: what the draft
    /// expects to come after the token. Rows are a window's tokens but one, window after window, of as many numbers as the
    /// target has tokens. Tokens that the draft never predicts are infinitely unlikely.
    ///
    /// Row `p` of a window stands beside row `p + 1` of the target's ([`States::logits`]): both are of token `p + 2`.
    ///
    /// # Errors
    /// States of other layers or of another width, a target whose vocabulary is another, and weights that cannot be read.
    pub fn forward(&self, states: &States<'_>) -> Result<Logits> {
        self.expect_target(states)?;
        let mut run = Run::new(&self.gguf, &states.following(), None);
        let x = self.graph.forward(&mut run, states)?;
        self.graph.vocabulary.logits(&mut run, states.target, &x)
    }

    /// Checks that the states are those that the draft reads.
    fn expect_target(&self, states: &States<'_>) -> Result<()> {
        let widths: Vec<usize> = states.inputs.iter().map(|input| input.cols).collect();
        let expected = vec![self.graph.width(); self.layers.len()];
        if widths != expected {
            return Err(self.error(format!(
                "states of the target: expected {} numbers for each of {} layers, found {widths:?}",
                self.graph.width(),
                self.layers.len()
            )));
        }
        let checked = self.graph.vocabulary.check(states.target);
        checked.map_err(|message| self.error(message))
    }

    fn error(&self, message: String) -> Error {
        Error::Model {
            path: self.path.clone(),
            message,
        }
    }
}

/// The layers of the target that a file names.
fn target_layers(gguf: &GgufModel, loader: &Loader<'_>) -> Result<Vec<usize>> {
    let suffix = "target_layers";
    let named = match gguf.metadata().arch(suffix) {
        Some(Value::Array(Array::I32(all))) => all.iter().map(|&n| usize::try_from(n).ok()).collect(),
        Some(Value::Array(Array::U32(all))) => Some(all.iter().map(|&n| n as usize).collect()),
        _ => None,
    };
    let layers: Option<Vec<usize>> = named;
    match layers {
        Some(layers) if layers.len() == EAGLE3_LAYERS => Ok(layers),
        other => {
            let expected = format!("{EAGLE3_LAYERS} layers of the target (i32)");
            Err(loader.keys.refused(suffix, expected, format!("{other:?}")))
        }
    }
}
