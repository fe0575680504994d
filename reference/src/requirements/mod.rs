//! Requirements of a model: the keys and tensors that its architecture's graph is built from.
//!
//! The graphs of [`crate::Model`] are the statement; here they are built from a declaration without data, and
//! everything is noted that they look for and do not find.

mod biases;
mod converted;
mod drafts;
mod keys;
mod particulars;
mod widths;

use gguf::{Metadata, TensorInfo, Value};

pub use crate::weights::{Kind, Shortfall};

use crate::weights::{ANY, Declared, Loader};
use crate::{Error, Result, model};

/// Completeness of a model, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All that its architecture needs was looked for; these are missing or wrong. None: the model is whole.
    Checked(Vec<Shortfall>),
    /// The requirements of the architecture are not known.
    UnknownArchitecture(String),
    /// A file that is no model by itself: a vocabulary without tensors, an adapter, an importance matrix.
    NoModel,
}

/// Values of `general.type` of files that are no models.
const NO_MODELS: [&str; 3] = ["adapter", "imatrix", "vocab"];

/// Looks for everything that a model's architecture needs among its keys and tensors.
pub fn check<'a>(metadata: &'a Metadata, tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Completeness {
    let declared = Declared::new(metadata, tensors);
    let loader = Loader::declared(&declared);
    let name = metadata.architecture();
    let kind = metadata.get_str("general.type");
    if declared.is_empty() || kind.is_some_and(|kind| NO_MODELS.contains(&kind)) {
        return Completeness::NoModel;
    }
    if !name.is_empty() && !model::knows(name) && graphless(name).is_none() {
        return Completeness::UnknownArchitecture(name.to_owned());
    }
    let end = look(&loader, &declared);
    let mut last = match end {
        Ok(()) => declared
            .unasked()
            .into_iter()
            .map(Shortfall::not_asked_for)
            .collect(),
        Err(Error::Short) => vec![],
        Err(Error::Model { message, .. }) => vec![Shortfall::other(message)],
        Err(other) => vec![Shortfall::other(other.to_string())],
    };
    let mut all = declared.into_shortfalls();
    last.retain(|s: &Shortfall| {
        s.subject().is_empty() || all.iter().all(|other| other.subject() != s.subject())
    });
    all.append(&mut last);
    Completeness::Checked(all)
}

/// The requirements of models of an architecture that has no graph here.
fn graphless(architecture: &str) -> Option<drafts::Look> {
    drafts::find(architecture).or_else(|| converted::find(architecture))
}

/// Notes what is missing; an error where what follows cannot be known.
fn look(loader: &Loader<'_>, declared: &Declared<'_>) -> Result<()> {
    for shortfall in keys::check(declared.metadata, loader.embedded()) {
        declared.note(shortfall)?;
    }
    particular(loader, declared)?;
    widths::check(declared)?;
    let name = declared.metadata.architecture();
    match graphless(name) {
        Some(look) => look(&drafts::Draft { loader, declared }),
        None => model::build(name, loader).map_or(Ok(()), |built| built.map(drop)),
    }
}

/// Further demands of llama.cpp's loader; see [`particulars`].
fn particular(loader: &Loader<'_>, declared: &Declared<'_>) -> Result<()> {
    let name = declared.metadata.architecture();
    if let Some(Value::U32(blocks)) = declared.metadata.arch("block_count")
        && let Some(last) = declared.last_block().filter(|last| last >= blocks)
    {
        let key = format!("{name}.block_count");
        let expected = format!("more than {last}, as there are tensors of block {last}");
        declared.note(Shortfall::key(&key, Some(&Value::U32(*blocks)), &expected))?;
    }
    for key in particulars::keys(name).split_whitespace() {
        let full = match key.starts_with("tokenizer.") {
            true => key.to_owned(),
            false => format!("{name}.{key}"),
        };
        let of = particulars::KEYS_OF
            .iter()
            .find(|(prefix, _)| key.starts_with(prefix));
        if particulars::WITH_EXPERTS_OR_NOT.contains(&name)
            && of.is_some_and(|(_, tensor)| declared.ending(tensor).next().is_none())
        {
            continue;
        }
        if declared.metadata.get(&full).is_none() {
            declared.note(Shortfall::key(&full, None, "a value"))?;
        }
    }
    for need in particulars::tensors(name).split_whitespace() {
        let weight = need.strip_suffix(".bias").map(|base| format!("{base}.weight"));
        let beside = particulars::BESIDE.iter().find(|(tensor, _)| *tensor == need);
        let beside = beside.map(|(_, beside)| (*beside).to_owned()).or(weight);
        for prefix in declared.prefixes(beside.as_deref()) {
            let tensor = format!("{prefix}{need}");
            if !loader.has(&tensor) {
                declared.note(Shortfall::missing_tensor(&tensor, &[ANY]))?;
            }
        }
    }
    if name == "bitnet" {
        for tensor in declared.ending("output.weight") {
            declared.note(Shortfall::not_asked_for(tensor))?;
        }
    }
    biases::check(declared)
}
