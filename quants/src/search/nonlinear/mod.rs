//! The search for the scale of nonlinear levels.

pub(crate) mod lanes;
