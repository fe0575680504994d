//! Instruction sets of x86-64.

mod avx2;
mod avx512;
mod detect;
mod product;

pub(crate) use detect::{Avx2, Avx512, Fma, Vnni};
