//! The encoders of Gemma 3.

use gguf::TensorType;
use serde_json::Value;

use super::keys::{epsilon, preprocessor, vision_keys};
use super::{ENCODER, HOOKS, embeddings, encoder_name, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Transform, rule};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, class};

pub(super) static GEMMA3: Architecture = Architecture {
    classes: &[class("Gemma3ForConditionalGeneration")],
    rules: &[GEMMA3_RULES, names::VISION],
    hyperparameters: gemma3_keys,
    model_types: &[&SIGLIP_TYPE],
    hooks: Hooks {
        canonical: |_, name| {
            let name = encoder_name(name)?;
            (!name.contains("vision_model.head.")).then(|| name.replace("_weight", ".weight"))
        },
        force: |_, name, _| match name.gguf {
            "mm.input_projection.weight" => Some(TensorType::F16),
            _ => embeddings(name),
        },
        ..HOOKS
    },
    ..ENCODER
};

const GEMMA3_RULES: &[Rule] = &[rule(
    "multi_modal_projector.mm_soft_emb_norm",
    "mm.soft_emb_norm",
    Transform::AddOne,
)];

/// Patches of an image that Gemma 3 makes one token of, along each side.
const PATCHES_OF_TOKEN: u32 = 4;
/// Tokens of an image where the preprocessor does not say.
const TOKENS: f64 = 256.0;

fn gemma3_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "gemma3");
    epsilon(hp, keys, "layer_norm_eps", 1e-6)?;
    keys.set("use_gelu", true);
    scale_by_tokens(hp, keys)
}

/// The projector's factor, where it is not the one that llama.cpp expects.
pub(super) fn scale_by_tokens(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let processor = preprocessor(keys.dir)?;
    let tokens = processor.get("image_seq_length").and_then(Value::as_f64);
    let side = tokens.unwrap_or(TOKENS).max(0.0).sqrt() as u32;
    let patches = hp.u32(&["image_size"])?.checked_div(hp.u32(&["patch_size"])?);
    let scale = patches.and_then(|n| n.checked_div(side)).unwrap_or(0);
    if scale > 0 && scale != PATCHES_OF_TOKEN {
        keys.set("vision.projector.scale_factor", scale);
    }
    Ok(())
}

static SIGLIP_TYPE: ModelType = ModelType::unrotated("siglip_vision_model");
