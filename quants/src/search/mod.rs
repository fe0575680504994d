//! The searches of the encoders: for scales, minima, splits and points of codebooks.
//!
//! Each is a folder with the specification, `scalar.rs`, beside `lanes.rs`, which has the same outcome to the bit: a
//! lane does what the specification does for one sub-block, operation for operation in the same order. The
//! algorithms and the order of their float operations are those of ggml's `make_*_quants` functions. Lanes expect
//! finite weights; encoders leave other rows to the specification.

pub(crate) mod affine;
pub(crate) mod codebook;
pub(crate) mod nonlinear;
pub(crate) mod positive;
pub(crate) mod split;
pub(crate) mod symmetric;
mod tiles;
