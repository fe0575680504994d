//! The operations that graphs are built from, on rows of f32 (one row for each token).

mod activation;
mod attention;
mod exp;
mod group_norm;
mod matmul;
mod matrix;
mod norm;
mod products;
mod recurrence;
mod relative;
mod rope;
mod rounding;

pub(crate) use activation::{Activation, Situ, Xielu, activate, gate};
pub(crate) use attention::{AttentionShape, attend, attend_across, attend_chosen, max, softmax};
pub(crate) use exp::{exp, exp64};
pub(crate) use group_norm::GroupNorm;
pub(crate) use matmul::{Parallel, View, ViewMut};
pub(crate) use matrix::{Matrix, Scratch};
pub(crate) use norm::{Norm, NormKind};
pub(crate) use products::Products;
pub(crate) use recurrence::{
    DeltaRule, StateSpace, WkvDelta, convolve, convolve_centered, decaying_sums, scan, sigmoid, softplus,
    wkv_bonus, wkv_delta,
};
pub(crate) use relative::RelativeBias;
pub(crate) use rope::{Rope, RopeSettings, RopeStyle, Yarn};
pub(crate) use rounding::Operand;
pub use rounding::Rounding;
