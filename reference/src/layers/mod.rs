//! Layers with weights, which architectures put together.

mod attention;
mod embedding;
mod feed_forward;
mod linear;
mod mixture;

pub(crate) use attention::{Attention, Projections};
pub(crate) use embedding::Embedding;
pub(crate) use feed_forward::{FeedForward, Gate};
pub(crate) use linear::{ExpertLinear, Linear};
pub(crate) use mixture::{Mixture, SharedExpert};
