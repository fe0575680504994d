//! AVX2.

pub(super) mod lanes;
pub(super) mod nearest;
mod ops;
mod product;

#[cfg(test)]
crate::tests::isa_agrees_with_scalar!(crate::Isa::Avx2);
#[cfg(test)]
crate::product::tests::kernel_agrees_with_scalar!(crate::Isa::Avx2);
