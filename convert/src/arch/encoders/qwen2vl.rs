//! The image encoders of Qwen2-VL and Qwen2.5-VL, which Sarashina 2.2 Vision and EXAONE 4.5 have too.

use serde_json::{Map, Value};

use super::keys::{pixel_limits, vision_keys};
use super::parts::{FRAMES_OF_PATCHES, THIRDS};
use super::{ENCODER, HOOKS, names};
use crate::Result;
use crate::arch::rules::names::{Rule, rule};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, class};

pub(super) static QWEN2VL: Architecture = Architecture {
    classes: &[
        class("Qwen2VLForConditionalGeneration"),
        class("Qwen2VLModel"),
        class("Sarashina2VisionForCausalLM"),
    ],
    rules: &[SPLIT, FRAMES_OF_PATCHES, names::VISION],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        keys.set("projector_type", "qwen2vl_merger");
        epsilon(hp, keys)
    },
    model_types: &[&QWEN2VL_TYPE],
    hooks: Hooks {
        prepare: rename,
        canonical: |_, name| {
            let name = name.strip_prefix("model.").unwrap_or(&name);
            name.starts_with("visual.").then(|| name.to_owned())
        },
        ..HOOKS
    },
    ..ENCODER
};

pub(super) static QWEN2_5VL: Architecture = Architecture {
    classes: &[class("Qwen2_5_VLForConditionalGeneration")],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        keys.set("projector_type", "qwen2.5vl_merger");
        windowed_keys(hp, keys)
    },
    model_types: &[&QWEN2_5VL_TYPE],
    ..QWEN2VL
};

pub(super) static EXAONE4_5: Architecture = Architecture {
    classes: &[class("Exaone4_5_ForConditionalGeneration")],
    rules: &[FRAMES_OF_PATCHES, names::VISION],
    hyperparameters: exaone_keys,
    model_types: &[],
    ..QWEN2VL
};

fn exaone_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "exaone4_5");
    keys.set("use_silu", true);
    pixel_limits(hp, keys)?;
    keys.set_some(
        "vision.attention.head_count_kv",
        hp.opt_u32(&["num_key_value_heads"])?,
    );
    let own = hp.opt_f32(&["rms_norm_eps"])?;
    let epsilon = own.or(hp.whole().opt_f32(&["rms_norm_eps"])?).unwrap_or(1e-6);
    keys.set("vision.attention.layer_norm_epsilon", epsilon);
    keys.set_some("vision.window_size", hp.opt_u32(&["window_size"])?);
    let full = hp.find(&["fullatt_block_indexes"]).and_then(Value::as_array);
    if full.is_some_and(|blocks| !blocks.is_empty()) {
        keys.set("vision.n_wa_pattern", period_of_full_blocks(hp)?);
    }
    Ok(())
}

/// Keys of an encoder whose blocks mostly see a window of the image.
pub(super) fn windowed_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("use_silu", true);
    keys.set("vision.n_wa_pattern", period_of_full_blocks(hp)?);
    epsilon(hp, keys)
}

pub(super) const SPLIT: &[Rule] = &[
    rule("visual.blocks.{}.attn.qkv", "v.blk.{}.attn_q", THIRDS[0]),
    rule("visual.blocks.{}.attn.qkv", "v.blk.{}.attn_k", THIRDS[1]),
    rule("visual.blocks.{}.attn.qkv", "v.blk.{}.attn_v", THIRDS[2]),
];

/// Side of an image where the configuration does not say.
const IMAGE_SIZE: u64 = 560;

/// Brings the configuration's keys to those that other encoders have.
pub(super) fn rename(config: &mut Map<String, Value>) {
    config.entry("image_size").or_insert(Value::from(IMAGE_SIZE));
    for (from, to) in [
        ("num_heads", "num_attention_heads"),
        ("depth", "num_hidden_layers"),
    ] {
        if let Some(value) = config.get(from).cloned() {
            config.insert(to.to_owned(), value);
        }
    }
    // Of Qwen2-VL, the hidden size is the text model's.
    if let Some(width) = config.get("embed_dim").cloned() {
        if let Some(hidden) = config.get("hidden_size").cloned() {
            config.insert("intermediate_size".to_owned(), hidden);
        }
        config.insert("hidden_size".to_owned(), width);
    }
}

fn epsilon(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let epsilon = hp.whole().opt_f32(&["rms_norm_eps"])?.unwrap_or(1e-6);
    keys.set("vision.attention.layer_norm_epsilon", epsilon);
    Ok(())
}

/// Blocks of which the last sees the whole image: one period after the other.
fn period_of_full_blocks(hp: &Hparams) -> Result<u32> {
    let Some(list) = hp.find(&["fullatt_block_indexes"]) else {
        return Ok(FULL_PERIOD);
    };
    let bad = || {
        hp.error(format!(
            "fullatt_block_indexes: expected even steps from the first, found {list}"
        ))
    };
    let blocks: Vec<u64> = list
        .as_array()
        .and_then(|blocks| blocks.iter().map(Value::as_u64).collect())
        .ok_or_else(bad)?;
    let period = blocks.first().and_then(|&n| n.checked_add(1)).ok_or_else(bad)?;
    if blocks.windows(2).any(|w| w[1].checked_sub(w[0]) != Some(period)) {
        return Err(bad());
    }
    u32::try_from(period).map_err(|_| bad())
}

/// Default of `fullatt_block_indexes`' period.
const FULL_PERIOD: u32 = 8;

static QWEN2VL_TYPE: ModelType = ModelType::unrotated("qwen2_vl");

static QWEN2_5VL_TYPE: ModelType = ModelType::unrotated("qwen2_5_vl");
