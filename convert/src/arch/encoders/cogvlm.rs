//! The image encoder of CogVLM.

use super::keys::{epsilon, vision_keys};
use super::{ENCODER, HOOKS};
use crate::arch::{Architecture, Hooks, class};

pub(super) static COGVLM: Architecture = Architecture {
    classes: &[class("CogVLMForCausalLM")],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        epsilon(hp, keys, "layer_norm_eps", 1e-6)?;
        keys.set("projector_type", "cogvlm");
        Ok(())
    },
    hooks: Hooks {
        canonical: |_, name| name.starts_with("model.vision.").then_some(name),
        ..HOOKS
    },
    ..ENCODER
};
