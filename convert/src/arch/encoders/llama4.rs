//! The image encoder of Llama 4.

use super::keys::{vision_keys, whole_part};
use super::{ENCODER, HOOKS, names};
use crate::arch::rules::names::{Rule, copy, exact};
use crate::arch::{Architecture, Hooks, ModelType, class};

pub(super) static LLAMA4: Architecture = Architecture {
    classes: &[class("Llama4ForConditionalGeneration")],
    rules: &[LLAMA4_RULES, names::VISION],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        keys.set("projector_type", "llama4");
        keys.set("vision.attention.layer_norm_epsilon", hp.f32(&["norm_eps"])?);
        let ratio = hp.f64(&["pixel_shuffle_ratio"])?;
        keys.set("vision.projector.scale_factor", whole_part(hp, 1.0 / ratio)?);
        keys.set("use_gelu", true);
        Ok(())
    },
    model_types: &[&LLAMA4_TYPE],
    hooks: Hooks {
        canonical: |_, name| {
            let is_own = ["multi_modal_projector", "vision_model"];
            is_own.iter().any(|p| name.contains(p)).then_some(name)
        },
        ..HOOKS
    },
    ..ENCODER
};

const LLAMA4_RULES: &[Rule] = &[
    exact("vision_model.positional_embedding_vlm", "v.position_embd.weight"),
    copy("multi_modal_projector.linear_1", "mm.model.fc"),
];

static LLAMA4_TYPE: ModelType = ModelType::unrotated("llama4_vision_model");
