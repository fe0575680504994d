//! Architectures that are none of the program's own: those of a file, and those in code of another crate.

use std::fmt;

use serde_json::{Map, Value};

use super::names::Transform;
use crate::Result;
use crate::arch::{Architecture, Generated, Hparams, Keys};
use crate::tokenizer::VocabRequest;

/// An architecture that is given with a conversion. A function of an [`Architecture`] knows nothing but the configuration,
/// which therefore has it ([`Hparams::declared`]).
pub(crate) trait Declared: fmt::Debug + Sync {
    /// Classes, name tables, defaults of missing keys, and the fixed parts of the graph.
    fn architecture(&self) -> &'static Architecture;

    /// Gives what a configuration names otherwise the names that are read.
    fn rename(&self, _: &mut Map<String, Value>) {}

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
    let Some(declared) = hp.declared() else {
        return Ok(());
    };
    declared.write_keys(hp, keys)?;
    heads_are_those_of_the_keys(declared.architecture(), hp, keys)
}

/// Rows of heads are permuted by the numbers in the configuration, and graphs turn them by the numbers in the file's keys: with
/// others, the file would load and compute nonsense. Where the configuration has no numbers, the first such tensor is an error.
fn heads_are_those_of_the_keys(architecture: &Architecture, hp: &Hparams, keys: &Keys<'_>) -> Result<()> {
    let Ok((of_queries, of_keys)) = hp.heads() else {
        return Ok(());
    };
    let written = |key: &str| keys.metadata.get(&format!("{}.{key}", keys.arch));
    let permutes = |is: fn(&Transform) -> bool| {
        architecture
            .rules
            .iter()
            .any(|table| table.iter().any(|r| is(&r.transform)))
    };
    let check = |key: &str, value: Option<&gguf::Value>, heads: u32, named: &str| {
        match value {
        Some(value) if !are(value, heads) => Err(hp.error(format!(
            "key '{}.{key}': expected {heads}, the heads that rows are permuted by (by '{named}' of the configuration), \
             found {value}",
            keys.arch
        ))),
        _ => Ok(()),
    }
    };
    let (queries, own) = (written(QUERY_HEADS), written(KEY_HEADS));
    if permutes(|t| matches!(t, Transform::PermuteQuery)) {
        check(QUERY_HEADS, queries, of_queries, "num_attention_heads")?;
    }
    if permutes(|t| matches!(t, Transform::PermuteKey)) {
        // Without a number of their own, graphs take as many as of queries.
        check(KEY_HEADS, own.or(queries), of_keys, "num_key_value_heads")?;
    }
    Ok(())
}

const QUERY_HEADS: &str = "attention.head_count";
const KEY_HEADS: &str = "attention.head_count_kv";

/// Whether a number of heads is this one, and in a list of the layers' every one that is not zero.
fn are(value: &gguf::Value, heads: u32) -> bool {
    match value.as_array() {
        Some(gguf::Array::U32(each)) => each.iter().all(|&n| n == 0 || n == heads),
        Some(gguf::Array::I32(each)) => each.iter().all(|&n| n == 0 || u32::try_from(n) == Ok(heads)),
        Some(_) => false,
        None => value.as_u64() == Some(heads.into()),
    }
}

/// The computed tensors of the architecture that `hp` was completed by.
pub(in crate::arch) fn generated(hp: &Hparams) -> Result<Vec<Generated>> {
    hp.declared().map_or(Ok(Vec::new()), |d| d.generated(hp))
}
