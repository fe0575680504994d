//! What a model needs: whether its keys and tensors are those that its architecture's graph is built from.
//!
//! The graphs of [`crate::Model`] are the statement; here they are built from a declaration without data, and
//! everything is noted that they look for and do not find.

mod shortfall;

use gguf::{Metadata, TensorInfo};

pub use shortfall::{Kind, Shortfall};

use crate::Error;
use crate::model;
use crate::weights::{Declared, Loader};

/// What is known of a model's completeness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All that its architecture needs was looked for; these are missing or wrong. None: the model is whole.
    Checked(Vec<Shortfall>),
    /// What the architecture needs is not known.
    UnknownArchitecture(String),
}

/// Looks for everything that a model's architecture needs among its keys and tensors.
pub fn check<'a>(metadata: &'a Metadata, tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Completeness {
    let declared = Declared::new(metadata, tensors);
    let loader = Loader::declared(&declared);
    let name = metadata.architecture();
    let Some(built) = model::build(name, &loader) else {
        return Completeness::UnknownArchitecture(name.to_owned());
    };
    let mut found = match built {
        Ok(_) => declared
            .unasked()
            .into_iter()
            .map(Shortfall::not_asked_for)
            .collect(),
        Err(Error::Short) => vec![],
        Err(Error::Model { message, .. }) => vec![Shortfall::other(message)],
        Err(other) => vec![Shortfall::other(other.to_string())],
    };
    let mut all = declared.into_shortfalls();
    all.append(&mut found);
    Completeness::Checked(all)
}
