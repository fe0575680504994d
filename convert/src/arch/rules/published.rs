//! The defaults that `transformers` assumes of configurations, as data.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Defaults by model type that `transformers` (4.57.6, which the stock converter pins) assumes for keys which a
/// `config.json` leaves out. The stock converter reads configurations through that library, so these reach the GGUF file.
/// The row `sections` has the parts of configurations that it makes up (`sections`). The file is made by oracle/py/config_defaults.py,
/// and a test of the oracle makes it again.
pub(in crate::arch) static TRANSFORMERS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../transformers_defaults.json")).expect("a test reads it")
});

/// The row of [`TRANSFORMERS`] with the names of all model types that it has a configuration of.
pub(in crate::arch) const KNOWN: &str = "known";

/// Whether `transformers` has a configuration of a model type.
pub(in crate::arch) fn is_known(name: &str) -> bool {
    TRANSFORMERS[KNOWN]
        .as_array()
        .is_some_and(|names| names.iter().any(|n| n == name))
}
