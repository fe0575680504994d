//! What `transformers` assumes of configurations, as data.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Defaults by model type that `transformers` (4.57.6, which the stock converter pins) assumes for keys which a
/// `config.json` leaves out. The stock converter reads configurations through that library, so these reach the GGUF file.
/// The row `sections` has the parts of configurations that it makes up (`sections`). The file is made by oracle/py/config_defaults.py,
/// and a test of the oracle makes it again.
pub(in crate::arch) static TRANSFORMERS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../transformers_defaults.json")).expect("a test reads it")
});
