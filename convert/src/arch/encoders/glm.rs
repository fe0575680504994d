//! The image encoders of GLM-4V, GLM-OCR and GLM-5-Next.

use super::keys::{epsilon, known_activation, preprocessor, processor_u32, vision_keys};
use super::parts::FRAMES_OF_PATCHES;
use super::{ENCODER, HOOKS, names, qwen3vl};
use crate::Result;
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, class};

pub(super) static GLM4V: Architecture = Architecture {
    classes: &[
        class("Glm4vForConditionalGeneration"),
        class("Glm4vMoeForConditionalGeneration"),
    ],
    rules: &[FRAMES_OF_PATCHES, names::VISION],
    hyperparameters: |hp, keys| keys_of(hp, keys, "glm4v"),
    model_types: &[&GLM4V_TYPE, &GLM4V_MOE_TYPE],
    hooks: Hooks {
        prepare: qwen3vl::rename,
        canonical: |_, name| {
            let name = name.strip_prefix("model.").unwrap_or(&name);
            name.starts_with("visual.").then(|| name.to_owned())
        },
        ..HOOKS
    },
    ..ENCODER
};

/// The same, of which transformers knows no defaults.
pub(super) static GLM_OCR: Architecture = Architecture {
    classes: &[class("GlmOcrForConditionalGeneration")],
    model_types: &[],
    ..GLM4V
};

pub(super) static GLM5_NEXT: Architecture = Architecture {
    classes: &[class("Glm5NextForConditionalGeneration")],
    hyperparameters: glm5_keys,
    model_types: &[],
    ..GLM4V
};

fn keys_of(hp: &Hparams, keys: &mut Keys<'_>, projector: &str) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", projector);
    known_activation(hp, keys);
    epsilon(hp, keys, "rms_norm_eps", 1e-5)
}

fn glm5_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys_of(hp, keys, "glm5v")?;
    let merge = hp.opt_u32(&["spatial_merge_size"])?;
    keys.set("vision.spatial_merge_size", merge.unwrap_or(2));
    keys.set_some("vision.swiglu_clamp", hp.opt_f32(&["swiglu_limit"])?);
    let processor = preprocessor(keys.dir)?;
    let number = |key: &str| processor_u32(hp, &processor, key);
    let side = hp.product(&[
        number("patch_size")?.unwrap_or(14),
        number("merge_size")?.unwrap_or(2),
    ])?;
    for (suffix, key) in [
        ("vision.image_min_pixels", "min_image_tokens"),
        ("vision.image_max_pixels", "max_image_tokens"),
    ] {
        if let Some(tokens) = number(key)? {
            keys.set(suffix, hp.product(&[tokens, side, side])?);
        }
    }
    Ok(())
}

static GLM4V_TYPE: ModelType = ModelType::unrotated("glm4v");

static GLM4V_MOE_TYPE: ModelType = ModelType::unrotated("glm4v_moe");
