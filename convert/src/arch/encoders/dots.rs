//! The image encoder of dots.ocr.

use super::keys::{pixel_limits, vision_keys};
use super::{ENCODER, HOOKS, names};
use crate::arch::rules::names::{Rule, copy};
use crate::arch::{Architecture, Hooks, class};

pub(super) static DOTS_OCR: Architecture = Architecture {
    classes: &[class("DotsOCRForCausalLM")],
    rules: &[DOTS_OCR_RULES, names::VISION],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        keys.set("projector_type", "dots_ocr");
        pixel_limits(hp, keys)?;
        keys.set("vision.attention.layer_norm_epsilon", hp.f32(&["rms_norm_eps"])?);
        keys.set("vision.projector.scale_factor", hp.u32(&["spatial_merge_size"])?);
        keys.set("use_silu", true);
        Ok(())
    },
    hooks: Hooks {
        // Images have any size.
        prepare: |config| {
            config.insert("image_size".to_owned(), 0.into());
        },
        canonical: |_, name| name.starts_with("vision_tower.").then_some(name),
        ..HOOKS
    },
    ..ENCODER
};

const DOTS_OCR_RULES: &[Rule] = &[
    copy("vision_tower.blocks.{}.mlp.fc1", "v.blk.{}.ffn_gate"),
    copy("vision_tower.blocks.{}.mlp.fc2", "v.blk.{}.ffn_down"),
    copy("vision_tower.blocks.{}.mlp.fc3", "v.blk.{}.ffn_up"),
];
