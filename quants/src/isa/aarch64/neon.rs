//! Kernels for NEON: the portable lanes, which the compiler puts in NEON's registers.

use crate::isa::dispatch;
use crate::isa::lanes::{Portable, Wide};

dispatch::specialize!("neon", Wide<Portable>);

#[cfg(test)]
crate::tests::isa_agrees_with_scalar!(crate::Isa::Neon);
