//! NEON: portable lanes, which the compiler puts in NEON's registers.

use crate::isa::ops::BlockOps;
use crate::isa::portable::Portable;
use crate::isa::work::{Vector, define_instruction_set};

define_instruction_set! {
    /// NEON.
    Neon runs work: is_aarch64_feature_detected, "neon"
}

impl BlockOps for Neon {}

impl Vector for Neon {
    type Lanes = Portable<Self>;
}

#[cfg(test)]
crate::tests::isa_agrees_with_scalar!(crate::Isa::Neon);
