//! The image encoder of Youtu-VL.

use gguf::{Array, Value as GgufValue};
use serde_json::Value;

use super::keys::{epsilon, vision_keys};
use super::{ENCODER, HOOKS, names};
use crate::Result;
use crate::arch::rules::names::resolve;
use crate::arch::{Architecture, Hooks, Hparams, Keys, class};

pub(super) static YOUTU_VL: Architecture = Architecture {
    classes: &[class("YoutuVLForConditionalGeneration")],
    hyperparameters,
    hooks: Hooks {
        prepare: |config| {
            config.entry("image_size").or_insert(IMAGE_SIZE.into());
        },
        canonical: |_, name| {
            let is_own = ["siglip2.", "merger."].iter().any(|p| name.starts_with(p));
            // The encoder has tensors that no graph reads.
            let is_known = is_own && !resolve(&[names::VISION], &name).is_empty();
            is_known.then_some(name)
        },
        ..HOOKS
    },
    ..ENCODER
};

/// Side of an image where the configuration does not say.
const IMAGE_SIZE: u64 = 560;

/// Activations that llama.cpp's approximation stands for.
const GELUS: [&str; 5] = [
    "gelu",
    "gelu_pytorch_tanh",
    "gelu_fast",
    "gelu_new",
    "gelu_accurate",
];

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "youtuvl");
    epsilon(hp, keys, "layer_norm_eps", 1e-6)?;
    let activation = hp.opt_str(&["hidden_act"]).unwrap_or("gelu_pytorch_tanh");
    match activation.to_lowercase().as_str() {
        "silu" => keys.set("use_silu", true),
        known if GELUS.contains(&known) => keys.set("use_gelu", true),
        other => return Err(hp.error(format!("hidden_act: expected silu or gelu, found {other}"))),
    }
    let merge = hp.opt_u32(&["spatial_merge_size"])?;
    keys.set("vision.spatial_merge_size", merge.unwrap_or(2));
    keys.set_some("vision.window_size", hp.opt_u32(&["window_size"])?);
    let full = hp.find(&["fullatt_block_indexes"]).and_then(Value::as_array);
    let full = full.and_then(|blocks| {
        let number = |n: &Value| i32::try_from(n.as_i64()?).ok();
        blocks.iter().map(number).collect::<Option<Vec<i32>>>()
    });
    let full = full
        .ok_or_else(|| hp.error("fullatt_block_indexes: expected a list of blocks, found none".to_owned()))?;
    keys.set("vision.wa_layer_indexes", GgufValue::Array(Array::I32(full)));
    Ok(())
}
