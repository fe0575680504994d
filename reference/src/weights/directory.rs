//! Directory of a model: its keys and the names, types and shapes of its tensors, with or without their data.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use gguf::{Array, GgufModel, Metadata, TensorInfo, Value};

use super::{BlockMatrix, Shortfall};
use crate::{Error, Result};

/// A dimension that could not be known, as the tensor that fixes it is missing: any other goes with it.
pub(crate) const ANY: usize = 0;

/// Most numbers that are made up in place of a tensor's. Nothing that is computed while a graph is built looks at
/// more of them than a head has pairs.
const NEUTRAL: usize = super::MAX_HEAD / 2;

/// Most shortfalls that are noted of a model.
const MAX_SHORTFALLS: usize = 100;

/// Origin of a graph's tensors.
#[derive(Clone, Copy)]
pub(crate) enum Directory<'a> {
    /// A file with its data.
    Opened(&'a GgufModel),
    /// A plan, or a file whose data does not matter.
    Declared(&'a Declared<'a>),
}

impl<'a> Directory<'a> {
    pub(crate) fn index(self, name: &str) -> Option<usize> {
        match self {
            Self::Opened(gguf) => gguf.find(name),
            Self::Declared(declared) => declared.by_name.get(name).copied(),
        }
    }

    pub(crate) fn find(self, name: &str) -> Option<&'a TensorInfo> {
        let index = self.index(name);
        match self {
            Self::Opened(gguf) => index.map(|i| gguf.info(i)),
            Self::Declared(declared) => {
                let index = index?;
                declared.asked.borrow_mut().insert(index);
                declared.tensors.get(index).copied()
            }
        }
    }

    /// Equal but for outer dimensions of 1, which writers drop or keep.
    pub(crate) fn same_shape(self, info: &TensorInfo, expected: &[usize]) -> bool {
        let any = matches!(self, Self::Declared(_));
        let longest = info.shape.len().max(expected.len());
        (0..longest).all(|i| {
            let expected = expected.get(i).copied().unwrap_or(1);
            info.shape.get(i).copied().unwrap_or(1) == expected as u64 || any && expected == ANY
        })
    }

    /// All numbers of a tensor whose shape was checked. Those of a declared model are 1, and no more than anyone
    /// looks at.
    pub(crate) fn decode(self, matrix: &BlockMatrix, shape: &[usize]) -> Result<Vec<f32>> {
        let elements: usize = shape.iter().fold(1, |n, &d| n.saturating_mul(d));
        match self {
            Self::Opened(gguf) => {
                let mut out = vec![0.0; elements];
                matrix.decode(gguf, 0, &mut out)?;
                Ok(out)
            }
            Self::Declared(_) => Ok(vec![1.0; elements.clamp(1, NEUTRAL)]),
        }
    }

    /// Tokens of the vocabulary, in place of the rows of an embedding that is missing.
    pub(crate) fn tokens(self) -> usize {
        let metadata = match self {
            Self::Opened(gguf) => gguf.metadata(),
            Self::Declared(declared) => declared.metadata,
        };
        match metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Array(Array::String(tokens))) => tokens.len(),
            _ => ANY,
        }
    }
}

/// A model without data, and what was found about it while a graph was built from it.
pub(crate) struct Declared<'a> {
    pub(crate) metadata: &'a Metadata,
    tensors: Vec<&'a TensorInfo>,
    by_name: HashMap<&'a str, usize>,
    asked: RefCell<HashSet<usize>>,
    shortfalls: RefCell<Vec<Shortfall>>,
}

impl<'a> Declared<'a> {
    pub(crate) fn new(metadata: &'a Metadata, tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Self {
        let tensors: Vec<_> = tensors.into_iter().collect();
        let by_name = tensors.iter().enumerate();
        Self {
            metadata,
            by_name: by_name.map(|(i, t)| (t.name.as_str(), i)).collect(),
            tensors,
            asked: RefCell::default(),
            shortfalls: RefCell::default(),
        }
    }

    /// Whether there is no tensor.
    pub(crate) fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// All tensors.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &'a TensorInfo> {
        self.tensors.iter().copied()
    }

    /// Whether there is a tensor of a layer.
    pub(crate) fn has_layer(&self, layer: usize) -> bool {
        let prefix = format!("blk.{layer}.");
        self.tensors.iter().any(|t| t.name.starts_with(&prefix))
    }

    /// The last layer that a tensor is of.
    pub(crate) fn last_block(&self) -> Option<u32> {
        let block = |t: &&TensorInfo| t.name.strip_prefix("blk.")?.split('.').next()?.parse().ok();
        self.tensors.iter().filter_map(block).max()
    }

    /// Prefixes of `name` in the names of all tensors that are called so, in a layer or not. With no name, nothing
    /// stands before it.
    pub(crate) fn prefixes(&self, name: Option<&str>) -> Vec<String> {
        let Some(name) = name else {
            return vec![String::new()];
        };
        self.ending(name)
            .filter_map(|t| t.name.strip_suffix(name))
            .map(str::to_owned)
            .collect()
    }

    /// Tensors that are called `name`, in a layer or not.
    pub(crate) fn ending<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a TensorInfo> + use<'_, 'a, 'n> {
        self.tensors.iter().copied().filter(move |t| {
            let before = t.name.strip_suffix(name);
            before.is_some_and(|before| {
                let layer = before.strip_prefix("blk.").and_then(|b| b.strip_suffix('.'));
                before.is_empty() || layer.is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()))
            })
        })
    }

    /// Notes a shortfall, once for each tensor or key. An error when there are too many to go on.
    pub(crate) fn note(&self, shortfall: Shortfall) -> Result<()> {
        let mut all = self.shortfalls.borrow_mut();
        if all.len() >= MAX_SHORTFALLS {
            return Err(Error::Short);
        }
        if !all.iter().any(|s| s.subject() == shortfall.subject()) {
            all.push(shortfall);
        }
        Ok(())
    }

    /// The shortfalls noted.
    pub(crate) fn into_shortfalls(self) -> Vec<Shortfall> {
        self.shortfalls.into_inner()
    }

    /// Tensors that nothing asked for.
    pub(crate) fn unasked(&self) -> Vec<&'a TensorInfo> {
        let asked = self.asked.borrow();
        let all = self.tensors.iter().enumerate();
        all.filter(|(i, _)| !asked.contains(i)).map(|(_, t)| *t).collect()
    }
}
