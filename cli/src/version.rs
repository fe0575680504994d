//! The version as `--version` and what is written tell it.

use std::sync::LazyLock;

/// The version, with the commit where it is known, and the release of llama.cpp that the bytes are compared with.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = match env!("QUANTSMITH_COMMIT") {
        "" => String::new(),
        commit => format!(" ({commit})"),
    };
    format!(
        "{}{commit}, llama.cpp {}",
        env!("CARGO_PKG_VERSION"),
        convert::LLAMA_CPP_RELEASE
    )
});

/// The version.
pub(crate) fn version() -> &'static str {
    &VERSION
}
