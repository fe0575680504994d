//! The image encoder of MiniCPM-V 4.6.

use gguf::{Array, Value as GgufValue};
use serde_json::Value;

use super::keys::{epsilon, preprocessor, processor_u32, vision_keys_of};
use super::{ENCODER, HOOKS};
use crate::Result;
use crate::arch::{Architecture, Hooks, Hparams, Keys, class};

pub(super) static MINICPM_V: Architecture = Architecture {
    classes: &[class("MiniCPMV4_6ForConditionalGeneration")],
    hyperparameters,
    hooks: Hooks {
        canonical: |hp, name| {
            let is_text = ["lm_head.", "mtp"].iter().any(|p| name.starts_with(p));
            if is_text || name.contains("language_model.") {
                return None;
            }
            let is_merger = name.contains(".vit_merger.");
            let without = is_merger && mode(hp).is_ok_and(|mode| mode == Mode::Quarter);
            (!without).then_some(name)
        },
        ..HOOKS
    },
    ..ENCODER
};

/// How many patches become one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Four, without the merger inside the encoder.
    Quarter,
    /// Sixteen.
    Sixteenth,
}

fn mode(hp: &Hparams) -> Result<Mode> {
    let processor = preprocessor(hp.dir())?;
    match processor.get("downsample_mode").and_then(Value::as_str) {
        None | Some("16x") => Ok(Mode::Sixteenth),
        Some("4x") => Ok(Mode::Quarter),
        Some(other) => Err(hp.error(format!("downsample_mode: expected 4x or 16x, found {other}"))),
    }
}

/// The block before which patches are merged, where the configuration does not say.
const MERGING_BLOCK: u32 = 6;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    // What the configuration has is the grid of positions, not the side of a slice.
    let processor = preprocessor(keys.dir)?;
    let side = match processor_u32(hp, &processor, "scale_resolution")? {
        Some(side) => side,
        None => hp.u32(&["image_size"])?,
    };
    vision_keys_of(hp, keys, &processor, side)?;
    keys.set("projector_type", "minicpmv4_6");
    let factor = match mode(hp)? {
        Mode::Quarter => 2u32,
        Mode::Sixteenth => 4,
    };
    keys.set("vision.projector.scale_factor", factor);
    let block = hp.whole().opt_u32(&["insert_layer_id"])?;
    let block = block
        .or(hp.opt_u32(&["insert_layer_id"])?)
        .unwrap_or(MERGING_BLOCK);
    let block = i32::try_from(block)
        .map_err(|_| hp.error(format!("insert_layer_id: expected a block, found {block}")))?;
    keys.set(
        "vision.wa_layer_indexes",
        GgufValue::Array(Array::I32(vec![block])),
    );
    keys.set("use_gelu", true);
    epsilon(hp, keys, "layer_norm_eps", 1e-6)
}
