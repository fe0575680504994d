//! Inputs of a command, which its outputs must not replace.

use std::cell::RefCell;
use std::path::Path;

use gguf::Inputs;

thread_local! {
    /// Files that the command of this thread holds.
    static HELD: RefCell<Vec<Inputs>> = const { RefCell::new(Vec::new()) };
}

/// Protects these files, and those of model directories, until the command ends. A writer that is pointed at one of them,
/// by whatever name, fails before it has written anything. Nothing temporary: files are known by their numbers, which the
/// system gives to others once they are gone.
pub(crate) fn hold<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) {
    let inputs = Inputs::hold(paths);
    HELD.with_borrow_mut(|held| held.push(inputs));
}

/// Releases what the command has held.
pub(crate) fn release() {
    HELD.take();
}
