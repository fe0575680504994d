//! The image encoders of Qwen3-VL, Qwen3.5 and Qwen4-Exp, and that of Ling 3 after them.

use gguf::{Array, Value as GgufValue};
use serde_json::{Map, Value};

use super::keys::vision_keys;
use super::parts::FRAMES_OF_PATCHES;
use super::{ENCODER, HOOKS, names};
use crate::Result;
use crate::arch::rules::multimodal;
use crate::arch::rules::names::{Rule, copy};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, class};

pub(super) static QWEN3VL: Architecture = Architecture {
    classes: &[class("Qwen3VLForConditionalGeneration")],
    model_types: &[&QWEN3VL_TYPE],
    ..QWEN3_5
};

pub(super) static QWEN3VL_MOE: Architecture = Architecture {
    classes: &[class("Qwen3VLMoeForConditionalGeneration")],
    model_types: &[&QWEN3VL_MOE_TYPE],
    ..QWEN3VL
};

pub(super) static QWEN3_5: Architecture = Architecture {
    classes: &[
        class("Qwen3_5ForConditionalGeneration"),
        class("Qwen3_5MoeForConditionalGeneration"),
        class("Qwen4ExpForConditionalGeneration"),
    ],
    rules: &[RULES, FRAMES_OF_PATCHES, names::VISION],
    hyperparameters,
    hooks: Hooks {
        prepare: rename,
        canonical: |hp, name| {
            let name = name.strip_prefix("model.").unwrap_or(&name);
            name.starts_with("visual.").then(|| numbered_by_block(hp, name))
        },
        ..HOOKS
    },
    ..ENCODER
};

pub(super) static LING3: Architecture = Architecture {
    classes: &[class("BailingMoeV3VLForConditionalGeneration")],
    rules: &[LING3_RULES, FRAMES_OF_PATCHES, names::VISION],
    hyperparameters: |hp, keys| {
        if hp.opt_bool("disable_merger_proj") != Some(true) {
            let found = hp.find(&["disable_merger_proj"]);
            return Err(hp.error(format!(
                "vision_config: disable_merger_proj: expected true, found {found:?}"
            )));
        }
        hp.u32(&["out_hidden_size"])?;
        vision_keys(hp, keys)?;
        keys.set("projector_type", "ling3vl");
        keys.set("use_gelu", true);
        keys.set_some("vision.spatial_merge_size", hp.opt_u32(&["spatial_merge_size"])?);
        text_epsilon(hp, keys)
    },
    hooks: Hooks {
        canonical: |_, name| {
            let name = name.strip_prefix("model.").unwrap_or(&name);
            let is_own = ["visual.", "linear_proj."];
            is_own
                .iter()
                .any(|p| name.starts_with(p))
                .then(|| name.to_owned())
        },
        ..QWEN3_5.hooks
    },
    ..QWEN3_5
};

const LING3_RULES: &[Rule] = &[
    copy("linear_proj.{}", "mm.{}"),
    copy("visual.merger.norm", "mm.input_norm"),
];

pub(super) const RULES: &[Rule] = &[
    copy("visual.merger.norm", "v.post_ln"),
    copy("visual.merger.linear_fc1", "mm.0"),
    copy("visual.merger.linear_fc2", "mm.2"),
    copy("visual.deepstack.{}.norm", "v.deepstack.{}.norm"),
    copy("visual.deepstack.{}.linear_fc1", "v.deepstack.{}.fc1"),
    copy("visual.deepstack.{}.linear_fc2", "v.deepstack.{}.fc2"),
];

/// The blocks whose outputs go to the first layers of the text model.
const DEEP: &str = "deepstack_visual_indexes";
/// Positions of an image where the configuration does not say.
const POSITIONS: f64 = 2304.0;

/// Brings the configuration's keys to those that other encoders have.
pub(super) fn rename(config: &mut Map<String, Value>) {
    let number = |key: &str| config.get(key).and_then(Value::as_f64);
    let side = number("num_position_embeddings")
        .unwrap_or(POSITIONS)
        .max(0.0)
        .sqrt();
    let size = (side * number("patch_size").unwrap_or(16.0)) as u64;
    config.entry("image_size").or_insert(size.into());
    for (from, to) in [
        ("num_heads", "num_attention_heads"),
        ("depth", "num_hidden_layers"),
    ] {
        if let Some(value) = config.get(from).cloned() {
            config.insert(to.to_owned(), value);
        }
    }
}

/// The numbers of [`DEEP`].
fn deep_blocks(hp: &Hparams) -> Result<Vec<u32>> {
    let Some(list) = hp.find(&[DEEP]) else {
        return Ok(Vec::new());
    };
    let list = list
        .as_array()
        .ok_or_else(|| hp.error(format!("vision_config: {DEEP}: expected a list, found none")))?;
    list.iter().map(|n| hp.to_u32(DEEP, n)).collect()
}

/// A merger of a block's output is numbered by its place in the list; the file has the block's number.
pub(super) fn numbered_by_block(hp: &Hparams, name: &str) -> String {
    let renamed = || {
        let (at, rest) = name
            .strip_prefix("visual.deepstack_merger_list.")?
            .split_once('.')?;
        let block = deep_blocks(hp).ok()?.get(at.parse::<usize>().ok()?).copied()?;
        Some(format!("visual.deepstack.{block}.{rest}"))
    };
    renamed().unwrap_or_else(|| name.to_owned())
}

/// The norm's epsilon, which is the text model's.
fn text_epsilon(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let text = multimodal::inner_text(hp.whole().values());
    let epsilon = text.and_then(|text| text.get("rms_norm_eps"));
    let epsilon = epsilon.map(|e| hp.to_f32("rms_norm_eps", e)).transpose()?;
    keys.set("vision.attention.layer_norm_epsilon", epsilon.unwrap_or(1e-6));
    Ok(())
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "qwen3vl_merger");
    own_keys(hp, keys)
}

/// The keys of this encoder besides the common ones.
pub(super) fn own_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("use_gelu", true);
    keys.set_some("vision.spatial_merge_size", hp.opt_u32(&["spatial_merge_size"])?);
    text_epsilon(hp, keys)?;
    let mut deep = vec![false; hp.block_count() as usize];
    for block in deep_blocks(hp)? {
        let blocks = deep.len();
        let flag = deep.get_mut(block as usize).ok_or_else(|| {
            hp.error(format!(
                "vision_config: {DEEP}: expected blocks below {blocks}, found {block}"
            ))
        })?;
        *flag = true;
    }
    if !deep.is_empty() {
        keys.set("vision.is_deepstack_layers", GgufValue::Array(Array::Bool(deep)));
    }
    Ok(())
}

static QWEN3VL_TYPE: ModelType = ModelType::unrotated("qwen3_vl");

static QWEN3VL_MOE_TYPE: ModelType = ModelType::unrotated("qwen3_vl_moe");
