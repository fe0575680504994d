//! Hyperparameters: `{architecture}.*` keys with their types checked.

use std::fmt::Display;
use std::path::Path;

use gguf::{Array, Metadata, Value};

use super::{Declared, Shortfall};
use crate::{Error, Result};

/// The keys of one model under its architecture's prefix.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    metadata: &'a Metadata,
    path: &'a Path,
    /// Declaration in which shortfalls are noted instead of being errors.
    declared: Option<&'a Declared<'a>>,
}

/// Most layers that a model can have, as llama.cpp has it (LLAMA_MAX_LAYERS).
const MAX_LAYERS: usize = 512;

/// In place of a number that is missing from a declared model.
const NEUTRAL: f32 = 1.0;

impl<'a> Keys<'a> {
    pub(crate) fn new(metadata: &'a Metadata, path: &'a Path) -> Self {
        Self {
            metadata,
            path,
            declared: None,
        }
    }

    pub(crate) fn declared(declared: &'a Declared<'a>, path: &'a Path) -> Self {
        Self {
            metadata: declared.metadata,
            path,
            declared: Some(declared),
        }
    }

    /// The architecture, as the file names it.
    pub(crate) fn architecture(&self) -> &str {
        self.metadata.architecture()
    }

    /// An error about this model.
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::Model {
            path: self.path.to_owned(),
            message: message.into(),
        }
    }

    fn name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.metadata.architecture())
    }

    fn wrong(&self, suffix: &str, found: &Value, expected: &str) -> Error {
        self.short(Shortfall::key(&self.name(suffix), Some(found), expected))
    }

    /// The error of a key that is needed and not there.
    pub(crate) fn missing(&self, suffix: &str) -> Error {
        self.short(Shortfall::key(&self.name(suffix), None, "a value"))
    }

    /// The error of a key whose value does not go with others.
    pub(crate) fn refused(&self, suffix: &str, expected: impl Display, found: impl Display) -> Error {
        let name = self.name(suffix);
        self.error(format!("key '{name}': expected {expected}, found {found}"))
    }

    /// An error about a key; of a declared model, it is noted besides.
    fn short(&self, shortfall: Shortfall) -> Error {
        match self.declared {
            None => self.error(shortfall.to_string()),
            Some(declared) => declared.note(shortfall).err().unwrap_or(Error::Short),
        }
    }

    /// A count; `None` when the key is absent.
    pub(crate) fn optional_count(&self, suffix: &str) -> Result<Option<usize>> {
        let Some(value) = self.metadata.arch(suffix) else {
            return Ok(None);
        };
        match value {
            Value::U32(v) => Ok(Some(*v as usize)),
            _ => Err(self.wrong(suffix, value, "a value of type u32")),
        }
    }

    /// A count that must be there and not be zero.
    pub(crate) fn count(&self, suffix: &str) -> Result<usize> {
        match self.optional_count(suffix)? {
            None => Err(self.missing(suffix)),
            Some(0) => Err(self.wrong(suffix, &Value::U32(0), "at least 1")),
            Some(n) => Ok(n),
        }
    }

    /// Layers of the model.
    pub(crate) fn blocks(&self) -> Result<usize> {
        self.layers("block_count")
    }

    /// Layers that another key counts; `None` when the key is absent.
    pub(crate) fn optional_blocks(&self, suffix: &str) -> Result<Option<usize>> {
        self.has(suffix).then(|| self.layers(suffix)).transpose()
    }

    fn layers(&self, suffix: &str) -> Result<usize> {
        match self.count(suffix)? {
            n if n > MAX_LAYERS => {
                let found = Value::U32(u32::try_from(n).unwrap_or(u32::MAX));
                Err(self.wrong(suffix, &found, &format!("at most {MAX_LAYERS}")))
            }
            n => Ok(n),
        }
    }

    /// A finite number; `None` when the key is absent.
    pub(crate) fn optional_float(&self, suffix: &str) -> Result<Option<f32>> {
        let Some(value) = self.metadata.arch(suffix) else {
            return Ok(None);
        };
        match value {
            Value::F32(v) if v.is_finite() => Ok(Some(*v)),
            _ => Err(self.wrong(suffix, value, "a finite value of type f32")),
        }
    }

    /// A finite number above zero; `None` when the key is absent.
    pub(crate) fn optional_positive(&self, suffix: &str) -> Result<Option<f32>> {
        match self.optional_float(suffix)? {
            Some(v) if v <= 0.0 => Err(self.wrong(suffix, &Value::F32(v), "a number above 0")),
            other => Ok(other),
        }
    }

    /// A finite number that must be there.
    pub(crate) fn float(&self, suffix: &str) -> Result<f32> {
        match self.optional_float(suffix)? {
            Some(v) => Ok(v),
            None => match (self.missing(suffix), self.declared) {
                // The graph can be built without it, for what else is missing.
                (Error::Short, Some(_)) => Ok(NEUTRAL),
                (error, _) => Err(error),
            },
        }
    }

    /// A string; `None` when the key is absent.
    pub(crate) fn optional_str(&self, suffix: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.metadata.arch(suffix) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(v) => Ok(Some(v)),
            None => Err(self.wrong(suffix, value, "text of type str")),
        }
    }

    /// A flag; `None` when the key is absent.
    pub(crate) fn optional_flag(&self, suffix: &str) -> Result<Option<bool>> {
        match self.metadata.arch(suffix) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(suffix, other, "a value of type bool")),
        }
    }

    /// One count for all layers, or one for each; `None` when the key is absent.
    pub(crate) fn optional_per_layer(&self, suffix: &str, layers: usize) -> Result<Option<PerLayer>> {
        let Some(value) = self.metadata.arch(suffix) else {
            return Ok(None);
        };
        let Some(array) = value.as_array() else {
            return Ok(self.optional_count(suffix)?.map(PerLayer::Same));
        };
        let counts: Option<Vec<usize>> = match array {
            Array::U32(v) => Some(v.iter().map(|&n| n as usize).collect()),
            Array::I32(v) => v.iter().map(|&n| usize::try_from(n).ok()).collect(),
            _ => None,
        };
        match counts {
            Some(counts) if counts.len() == layers => Ok(Some(PerLayer::Each(counts))),
            _ => Err(self.wrong(
                suffix,
                value,
                &format!("one number, or {layers} numbers of 32 bits"),
            )),
        }
    }

    /// A number for each of `layers` layers under a key without the architecture's prefix.
    pub(crate) fn global_floats(&self, key: &str, layers: usize) -> Result<Vec<f32>> {
        let value = self.metadata.get(key);
        match value.and_then(Value::as_array) {
            Some(Array::F32(numbers)) if numbers.len() == layers => Ok(numbers.clone()),
            _ => Err(self.short(Shortfall::key(
                key,
                value,
                &format!("{layers} numbers of type f32"),
            ))),
        }
    }

    /// One number for all of `layers` layers, or one for each.
    pub(crate) fn floats(&self, suffix: &str, layers: usize) -> Result<Vec<f32>> {
        match self.metadata.arch(suffix) {
            Some(Value::F32(number)) => Ok(vec![*number; layers]),
            Some(value) => match value.as_array() {
                Some(Array::F32(numbers)) if numbers.len() == layers => Ok(numbers.clone()),
                _ => Err(self.wrong(suffix, value, &format!("one number of type f32, or {layers}"))),
            },
            None => Err(self.missing(suffix)),
        }
    }

    /// [`Self::floats`]; `None` when the key is absent.
    pub(crate) fn optional_floats(&self, suffix: &str, layers: usize) -> Result<Option<Vec<f32>>> {
        match self.metadata.arch(suffix) {
            None => Ok(None),
            Some(_) => self.floats(suffix, layers).map(Some),
        }
    }

    /// The value of a key without the architecture's prefix.
    pub(crate) fn global(&self, key: &str) -> Option<&'a Value> {
        self.metadata.get(key)
    }

    /// A count under a key without the architecture's prefix.
    pub(crate) fn global_count(&self, key: &str) -> Option<usize> {
        let n = self.metadata.get(key)?.as_u64()?;
        usize::try_from(n).ok()
    }

    /// One flag for each layer.
    pub(crate) fn optional_flags(&self, suffix: &str, layers: usize) -> Result<Option<Vec<bool>>> {
        let Some(value) = self.metadata.arch(suffix) else {
            return Ok(None);
        };
        match value.as_array() {
            Some(Array::Bool(flags)) if flags.len() == layers => Ok(Some(flags.clone())),
            Some(Array::I32(flags)) if flags.len() == layers => {
                Ok(Some(flags.iter().map(|&flag| flag != 0).collect()))
            }
            _ => Err(self.wrong(suffix, value, &format!("{layers} booleans"))),
        }
    }

    /// The array that the key holds.
    pub(crate) fn array(&self, suffix: &str) -> Result<&'a Array> {
        match self.metadata.arch(suffix) {
            None => Err(self.missing(suffix)),
            Some(value) => value
                .as_array()
                .ok_or_else(|| self.wrong(suffix, value, "an array")),
        }
    }

    /// Entries of the array that the key holds.
    pub(crate) fn array_len(&self, suffix: &str) -> Option<usize> {
        Some(self.metadata.arch(suffix)?.as_array()?.len())
    }

    /// Whether the file has the key.
    pub(crate) fn has(&self, suffix: &str) -> bool {
        self.metadata.arch(suffix).is_some()
    }

    /// Whether the key holds an array.
    pub(crate) fn is_array(&self, suffix: &str) -> bool {
        self.metadata.arch(suffix).is_some_and(|v| v.as_array().is_some())
    }
}

/// A count that may differ from layer to layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PerLayer {
    Same(usize),
    Each(Vec<usize>),
}

impl PerLayer {
    /// The count of one layer; 0 past the last.
    pub(crate) fn get(&self, layer: usize) -> usize {
        match self {
            Self::Same(n) => *n,
            Self::Each(counts) => counts.get(layer).copied().unwrap_or(0),
        }
    }
}
