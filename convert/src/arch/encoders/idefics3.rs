//! The image encoder of Idefics 3 and SmolVLM.

use super::keys::{epsilon, preprocessor, vision_keys};
use super::{ENCODER, HOOKS, embeddings};
use crate::Result;
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, class};

pub(super) static IDEFICS3: Architecture = Architecture {
    classes: &[
        class("Idefics3ForConditionalGeneration"),
        class("SmolVLMForConditionalGeneration"),
    ],
    hyperparameters: idefics3_keys,
    model_types: &[&IDEFICS3_TYPE, &SMOLVLM_TYPE],
    hooks: Hooks {
        canonical: |_, name| {
            let is_own = ["vision_tower", "vision_model", "model.connector"]
                .iter()
                .any(|p| name.contains(p));
            is_own.then_some(name)
        },
        force: |_, name, _| embeddings(name),
        ..HOOKS
    },
    ..ENCODER
};

fn idefics3_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "idefics3");
    epsilon(hp, keys, "layer_norm_eps", 1e-5)?;
    let scale = hp.whole().opt_u32(&["scale_factor"])?;
    keys.set("vision.projector.scale_factor", scale.unwrap_or(2));
    keys.set("use_gelu", true);
    let processor = preprocessor(keys.dir)?;
    let edge = match processor.get("size").and_then(|s| s.get("longest_edge")) {
        Some(edge) => hp.to_u32("longest_edge", edge)?,
        None => hp.u32(&["image_size"])?,
    };
    keys.set("vision.preproc_image_size", edge);
    Ok(())
}

static IDEFICS3_TYPE: ModelType = ModelType::unrotated("idefics3_vision");

static SMOLVLM_TYPE: ModelType = ModelType::unrotated("smolvlm_vision");
