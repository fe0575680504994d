//! Rules that architectures share: tensor names and transforms, keys, rotations, checks of a configuration.

pub(crate) mod common;
pub(crate) mod declared;
pub(crate) mod experts;
pub(crate) mod graph;
pub(crate) mod hooks;
pub(crate) mod hparams;
pub(crate) mod model_type;
pub(crate) mod multimodal;
pub(crate) mod names;
pub(crate) mod nearest;
pub(crate) mod newer;
pub(crate) mod published;
pub(crate) mod quantile;
pub(crate) mod rope;
pub(crate) mod rope_notes;
pub(crate) mod rows;
pub(crate) mod sections;
pub(crate) mod selection;
pub(crate) mod target;
pub(crate) mod view;
pub(crate) mod windows;
