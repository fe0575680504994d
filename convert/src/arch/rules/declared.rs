//! Architectures that are none of the program's own: those of a file, and those in code of another crate.

use std::fmt;

use serde_json::Value;

use crate::Result;
use crate::arch::{Architecture, Generated, Hparams, Keys};
use crate::tokenizer::VocabRequest;

/// An architecture that is given with a conversion. A function of an [`Architecture`] knows nothing but the configuration,
/// which therefore has it ([`Hparams::declared`]).
pub(crate) trait Declared: fmt::Debug + Sync {
    /// Classes, name tables, defaults of missing keys, and the fixed parts of the graph.
    fn architecture(&self) -> &'static Architecture;

    /// Writes the `{arch}.*` keys, in output order.
    fn write_keys(&self, hp: &Hparams, keys: &mut Keys<'_>) -> Result<()>;

    /// The request for the vocabulary of a model with this configuration.
    fn vocabulary(&self, config: &Value) -> VocabRequest;

    /// Tensors to compute.
    fn generated(&self, _: &Hparams) -> Result<Vec<Generated>> {
        Ok(Vec::new())
    }
}

/// The keys of the architecture that `hp` was completed by.
pub(in crate::arch) fn keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    hp.declared().map_or(Ok(()), |d| d.write_keys(hp, keys))
}

/// The computed tensors of the architecture that `hp` was completed by.
pub(in crate::arch) fn generated(hp: &Hparams) -> Result<Vec<Generated>> {
    hp.declared().map_or(Ok(Vec::new()), |d| d.generated(hp))
}
