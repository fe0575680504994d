//! Instruction sets: their detection, the operations that each has of its own, and lanes in their registers.
//!
//! An instruction set is a value ([`Scalar`], `Avx2`, `Neon`) that only its detection makes. Whatever executes its
//! instructions takes the value, so that code which did not ask the CPU does not compile. Target features are
//! enabled in one place: [`InstructionSet::run_with`], which takes [`Work`].

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod detect;
pub(crate) mod lanes;
mod ops;
mod pair;
#[cfg(any(test, target_arch = "aarch64"))]
mod portable;
pub(crate) mod product;
mod work;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(crate) use detect::Detected;
pub use detect::Isa;
pub(crate) use lanes::{Lanes, MOST_LANES, Single};
pub(crate) use ops::BlockOps;
pub(crate) use pair::Pair;
pub(crate) use work::{InstructionSet, Scalar, Vector, Work};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{Fma, Vnni};
