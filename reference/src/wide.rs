//! Loops compiled for the instruction set of the machine.

use std::sync::LazyLock;

/// Runs `work` compiled for the widest vectors that the machine has. It and what it calls have to be
/// inlined (`#[inline(always)]`) to take part. Results stay the same: no operation is fused or reordered.
#[inline(always)]
pub(crate) fn wide<R>(work: impl FnOnce() -> R) -> R {
    static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);
    ARCH.dispatch(work)
}
