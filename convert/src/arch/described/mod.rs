//! Architectures whose every part is data: some of the built-in ones, and those of a file that a user writes for a
//! family that is not built in (`files`).

mod keys;
mod vocabulary;

use std::path::Path;

use serde_json::{Map, Value};

pub(crate) use keys::{Computed, Constant, Group, Key, Kind, u32_of, write};
pub(in crate::arch) use vocabulary::KINDS;
pub(crate) use vocabulary::{ForSize, LLAMA_VOCABULARY, QWEN2_VOCABULARY, Vocabulary};

use super::rules::declared::Declared;
use super::rules::rope;
use super::{Architecture, Class, Generated, Hparams, Keys, multimodal, rules};
use crate::tokenizer::VocabRequest;
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
    pub(in crate::arch) const NAMES: [(&'static str, Self); 2] =
        [("llama3", Self::Llama3), ("longrope", Self::LongRope)];

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
            Error::input(
                config_path,
                format!(
                    "architectures: found {}, expected one of the classes of {}: {}",
                    rules::nearest::shown(found),
                    file.display(),
                    listed.join(", ")
                ),
            )
        })
    }
}

impl Declared for Described {
    fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    fn write_keys(&self, hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
        write(self.keys, hp, keys)
    }

    fn vocabulary(&self, config: &Value) -> VocabRequest {
        self.vocabulary.request(config)
    }

    fn generated(&self, hp: &Hparams) -> Result<Vec<Generated>> {
        self.factors.map_or(Ok(Vec::new()), |f| f.generated(hp))
    }
}
