//! Kernels for AVX2. FMA stays off: it would give other bytes.

mod lanes;
mod nearest;
mod ops;
pub(in crate::isa) mod product;

pub(super) use lanes::F32x8;

use crate::isa::dispatch;
use crate::isa::lanes::Wide;

dispatch::specialize!("avx2,f16c", Wide<F32x8>);

#[cfg(test)]
crate::tests::isa_agrees_with_scalar!(crate::Isa::Avx2);
