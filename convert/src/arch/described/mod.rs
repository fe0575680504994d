//! Architectures whose every part is data: some of the built-in ones, and those of a file that a user writes for a
//! family that is not built in (docs/arch-file.md).
//!
//! Both are the same values, so that what [`print()`] writes of a built-in one and [`read()`] reads again gives the same
//! bytes.

mod document;
mod keys;
mod print;
mod read;
mod rows;
mod vocabulary;

use std::path::Path;

use serde_json::{Map, Value};

pub(crate) use keys::{Computed, Group, Key, Kind, u32_of, write};
pub(crate) use print::{names, print};
pub(crate) use read::read;
pub(crate) use rows::Selection;
pub(crate) use vocabulary::{ForSize, LLAMA_VOCABULARY, QWEN2_VOCABULARY, Vocabulary};

use super::rules::rope;
use super::{Architecture, Class, Generated, Hparams, defaults, multimodal, rules};
use crate::{Error, Result};

/// An architecture as data.
#[derive(Debug)]
pub(crate) struct Described {
    /// Classes, name tables, defaults of missing keys, and the fixed parts of the graph.
    pub(crate) architecture: &'static Architecture,
    /// The `{arch}.*` keys, in output order.
    pub(crate) keys: &'static [Key],
    pub(crate) vocabulary: &'static Vocabulary,
    pub(crate) factors: Option<Factors>,
    /// What a program says in code in place of the keys.
    pub(crate) code: Option<&'static dyn super::custom::CustomArchitecture>,
}

/// Divisors of the rotation's frequencies, as tensors of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factors {
    /// `rope_freqs.weight`, where the configuration asks for Llama 3's scaling.
    Llama3,
    /// `rope_factors_long.weight` and `rope_factors_short.weight`, where the configuration lists them.
    LongRope,
}

impl Factors {
    const NAMES: [(&'static str, Self); 2] = [("llama3", Self::Llama3), ("longrope", Self::LongRope)];

    fn generated(self, hp: &Hparams) -> Result<Vec<Generated>> {
        match self {
            Self::Llama3 => rope::llama3_factors(hp),
            Self::LongRope => rope::long_factors(hp),
        }
    }
}

impl Described {
    /// The class of a configuration.
    ///
    /// # Errors
    /// A class that `file` does not list.
    pub(crate) fn class_of(
        &self,
        file: &Path,
        config_path: &Path,
        config: &Map<String, Value>,
    ) -> Result<&'static Class> {
        let found = multimodal::class_of(config).ok_or_else(|| super::no_class(config_path))?;
        let classes = self.architecture.classes;
        classes.iter().find(|c| c.name == found).ok_or_else(|| {
            let listed: Vec<&str> = classes.iter().map(|c| c.name).collect();
            Error::Input {
                path: config_path.to_path_buf(),
                message: format!(
                    "architectures: found {}, expected one of the classes of {}: {}",
                    rules::nearest::shown(found),
                    file.display(),
                    listed.join(", ")
                ),
            }
        })
    }

    /// The hyperparameters of a configuration, completed with the defaults of the description, then with those of the
    /// built-in model types.
    ///
    /// # Errors
    /// [`Error::Input`] naming what is missing or malformed.
    pub(crate) fn hyperparameters_of(
        &'static self,
        config_path: &Path,
        config: Map<String, Value>,
    ) -> Result<Hparams> {
        let config = defaults::complete_with(self.architecture.model_types, config);
        let mut hparams = Hparams::new(config_path.to_path_buf(), config)?;
        hparams.describe(self);
        Ok(hparams)
    }
}

/// The keys of the description that `hp` was completed by.
fn described_keys(hp: &Hparams, keys: &mut super::Keys<'_>) -> Result<()> {
    hp.described().map_or(Ok(()), |d| write(d.keys, hp, keys))
}

/// The computed tensors of the description that `hp` was completed by.
fn described_factors(hp: &Hparams) -> Result<Vec<Generated>> {
    let factors = hp.described().and_then(|d| d.factors);
    factors.map_or(Ok(Vec::new()), |f| f.generated(hp))
}
