//! Exit codes.

/// Done as asked.
pub(crate) const DONE: u8 = 0;
/// Failed, or found what was looked for.
pub(crate) const FAILED: u8 = 1;
/// Arguments that make no command.
pub(crate) const WRONG_USAGE: u8 = 2;
