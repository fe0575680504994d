//! The search for the best split of a sorted block.

pub(crate) mod lanes;
