//! The image encoder of Pixtral and Mistral Small, and that of LightOnOCR, which has no token between rows.

use super::keys::{activation, epsilon, vision_keys};
use super::{ENCODER, HOOKS, encoder_name, names};
use crate::Result;
use crate::arch::rules::multimodal::class_of;
use crate::arch::rules::names::{Rule, Scope, Transform, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, View, class};

pub(super) static PIXTRAL: Architecture = Architecture {
    classes: &[
        class("LlavaForConditionalGeneration"),
        class("Mistral3ForConditionalGeneration"),
    ],
    rules: &[BREAK_RULES, ROTATED, names::VISION],
    hyperparameters: pixtral_keys,
    model_types: &[&PIXTRAL_TYPE],
    hooks: Hooks {
        canonical: |_, name| {
            let is_embedding = name.ends_with("embed_tokens.weight");
            if is_embedding {
                Some(EMBEDDING.to_owned())
            } else {
                encoder_name(name)
            }
        },
        ..HOOKS
    },
    ..ENCODER
};

pub(super) static LIGHT_ON_OCR: Architecture = Architecture {
    classes: &[class("LightOnOCRForConditionalGeneration")],
    rules: &[ROTATED, names::VISION],
    hyperparameters: |hp, keys| {
        pixtral_keys(hp, keys)?;
        keys.set("projector_type", "lightonocr");
        Ok(())
    },
    hooks: Hooks {
        canonical: |_, name| {
            let name = name.replace("model.vision_encoder.", "vision_tower.");
            encoder_name(name.replace("model.vision_projection.", "multi_modal_projector."))
        },
        ..HOOKS
    },
    ..PIXTRAL
};

/// The name of the text model's embeddings, whatever it is in the directory.
const EMBEDDING: &str = "embed_tokens.weight";
/// The token between two rows of an image.
const BREAK: &str = "[IMG_BREAK]";

const BLOCK: Scope = Scope::new("vision_tower.transformer.layers.{}", "v.blk.{}");

const BREAK_RULES: &[Rule] = &[exact_with(
    EMBEDDING,
    "v.token_embd.img_break",
    Transform::View(break_row, None),
)
.in_part()];

const ROTATED: &[Rule] = &[
    BLOCK.rule("attention.q_proj", "attn_q", Transform::PermuteQuery),
    BLOCK.rule("attention.k_proj", "attn_k", Transform::PermuteKey),
];

/// The row of [`BREAK`] in the text model's embeddings, as a vector.
fn break_row(hp: &Hparams, view: View) -> Result<Option<View>> {
    let id = crate::tokenizer::added_token_id(hp.dir(), BREAK)?.ok_or_else(|| {
        hp.error(format!(
            "expected an added token {BREAK}, which this encoder needs, found none"
        ))
    })?;
    Ok(view.cut(0, id, 1).and_then(|v| v.without(0)))
}

fn pixtral_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let kind = hp.opt_str(&["model_type"]).unwrap_or("");
    if kind != "pixtral" {
        return Err(hp.error(format!(
            "vision_config: expected model_type \"pixtral\", the encoder of this class that is supported, found {kind:?}"
        )));
    }
    vision_keys(hp, keys)?;
    keys.set("projector_type", "pixtral");
    // transformers has it in the code of the model.
    epsilon(hp, keys, "layer_norm_eps", 1e-5)?;
    activation(hp, keys)?;
    let is_mistral = class_of(hp.whole().values()) == Some("Mistral3ForConditionalGeneration");
    let merge = hp.whole().opt_u32(&["spatial_merge_size"])?;
    keys.set_some("vision.spatial_merge_size", merge.or(is_mistral.then_some(2)));
    Ok(())
}

static PIXTRAL_TYPE: ModelType = ModelType::unrotated("pixtral");
