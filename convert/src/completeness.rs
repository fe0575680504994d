//! Whether what is to be written is a whole model: everything that its architecture needs, by the declaration that the
//! forward pass is built from.

use gguf::{Metadata, TensorInfo};
use reference::requirements::{self, Completeness, Shortfall};

/// Most shortfalls that a message names.
const NAMED: usize = 5;

/// Shortfalls of a model of these keys and tensors; none of an architecture that is not known.
pub(crate) fn shortfalls<'a>(
    metadata: &'a Metadata,
    tensors: impl IntoIterator<Item = &'a TensorInfo>,
) -> Result<Vec<Shortfall>, UnknownArchitecture> {
    match requirements::check(metadata, tensors) {
        Completeness::Checked(found) => Ok(found),
        Completeness::NoModel => Ok(Vec::new()),
        Completeness::UnknownArchitecture(name) => Err(UnknownArchitecture(name)),
    }
}

/// An architecture of which nobody said what it needs.
#[derive(Debug)]
pub(crate) struct UnknownArchitecture(String);

impl std::fmt::Display for UnknownArchitecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "key 'general.architecture': found {:?}; what such a model needs is not known, so it may be incomplete",
            self.0
        )
    }
}

/// One message of all shortfalls.
pub(crate) fn describe(shortfalls: &[Shortfall]) -> String {
    let named: Vec<String> = shortfalls.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match shortfalls.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    format!("not a whole model: {}{more}", named.join("; "))
}
