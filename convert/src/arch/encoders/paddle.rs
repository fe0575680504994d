//! The image encoder of PaddleOCR-VL.

use super::keys::{epsilon, preprocessor, required, vision_keys};
use super::{ENCODER, HOOKS};
use crate::Result;
use crate::arch::{Architecture, Hooks, Hparams, Keys, class};

pub(super) static PADDLE_OCR: Architecture = Architecture {
    classes: &[class("PaddleOCRVisionModel")],
    hyperparameters,
    hooks: Hooks {
        // By the most pixels, below.
        prepare: |config| {
            config.insert("image_size".to_owned(), 0.into());
        },
        canonical: |_, name| {
            let is_own = name.contains("vision_model") || name.contains("mlp_AR");
            let is_unused = [
                "packing_position_embedding",
                "vision_model.head",
                "language_model.",
            ];
            let is_unused = is_unused.iter().any(|p| name.contains(p));
            (is_own && !is_unused).then(|| name.replace("visual.", "model."))
        },
        ..HOOKS
    },
    ..ENCODER
};

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    let processor = preprocessor(keys.dir)?;
    let most = required(hp, &processor, "max_pixels")?;
    keys.set("vision.image_size", f64::from(most).sqrt() as u32);
    keys.set("projector_type", "paddleocr");
    keys.set("vision.image_max_pixels", most);
    keys.set("vision.image_min_pixels", required(hp, &processor, "min_pixels")?);
    keys.set("use_gelu", true);
    epsilon(hp, keys, "rms_norm_eps", 1e-6)
}
