//! The image encoder of HunyuanOCR.

use serde_json::Value;

use super::keys::{epsilon, pixel_limits, vision_keys};
use super::{ENCODER, HOOKS, convolution, names, short_or_exact};
use crate::Result;
use crate::arch::rules::names::{Rule, Transform, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, Keys, Rows, class};

pub(super) static HUNYUAN_VL: Architecture = Architecture {
    classes: &[class("HunYuanVLForConditionalGeneration")],
    rules: &[RULES, names::VISION],
    hyperparameters,
    hooks: Hooks {
        prepare: |config| {
            let size = config.get("max_image_size").cloned();
            config
                .entry("image_size")
                .or_insert(size.unwrap_or(Value::from(IMAGE_SIZE)));
        },
        canonical: |_, name| name.starts_with("vit.").then_some(name),
        force: |_, name, ty| {
            let is_projector = ["mm.0.weight", "mm.2.weight"].contains(&name.gguf);
            match is_projector {
                true => Some(short_or_exact(ty)),
                false => convolution(name, ty),
            }
        },
        ..HOOKS
    },
    ..ENCODER
};

/// Side of an image where the configuration does not say.
const IMAGE_SIZE: u64 = 2048;

/// Positions without that of the class token, the first.
const RULES: &[Rule] = &[exact_with(
    "vit.embeddings.position_embedding.weight",
    "v.position_embd.weight",
    Transform::Rows(|_, n| Ok(Rows::range(1, n.saturating_sub(1)))),
)
.in_part()];

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "hunyuanvl");
    keys.set("use_gelu", true);
    epsilon(hp, keys, "rms_norm_eps", 1e-5)?;
    let merge = hp.opt_u32(&["spatial_merge_size"])?;
    keys.set("vision.spatial_merge_size", merge.unwrap_or(2));
    pixel_limits(hp, keys)
}
