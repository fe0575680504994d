//! AVX-512.

mod lanes;
mod nearest;
mod ops;
mod product;

#[cfg(test)]
crate::tests::isa_agrees_with_scalar!(crate::Isa::Avx512);
#[cfg(test)]
crate::product::tests::kernel_agrees_with_scalar!(crate::Isa::Avx512);
