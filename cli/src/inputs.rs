//! Inputs of a command, which its outputs must not replace.

use std::path::Path;

use gguf::Inputs;

/// Protects these files, and those of model directories, as long as the process lives. A writer that is pointed at
/// one of them, by whatever name, fails before it has written anything.
pub(crate) fn hold<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) {
    Inputs::hold(paths).forever();
}
