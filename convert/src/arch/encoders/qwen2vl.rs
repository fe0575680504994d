//! The image encoders of Qwen2-VL and Qwen2.5-VL.

use gguf::TensorType;
use serde_json::{Map, Value};

use super::{CLIP, vision_keys};
use crate::Result;
use crate::arch::rules::names::{Rule, Transform, copy, exact, rule};
use crate::arch::{Architecture, Default, Hooks, Hparams, Keys, ModelType, PLAIN, Rows, View, class};

pub(super) static QWEN2VL: Architecture = Architecture {
    gguf: CLIP,
    classes: &[class("Qwen2VLForConditionalGeneration")],
    rules: &[RULES],
    hyperparameters: |hp, keys| {
        let whole = vision_keys(hp, keys)?;
        keys.set("projector_type", "qwen2vl_merger");
        epsilon(hp, keys, &whole)
    },
    model_types: &[&QWEN2VL_TYPE],
    hooks: Hooks {
        prepare: rename,
        canonical: |_, name| {
            let name = name.strip_prefix("model.").unwrap_or(&name);
            name.starts_with("visual.").then(|| name.to_owned())
        },
        force: |_, name, ty| frames(name, ty),
        ..Hooks::NONE
    },
    ..PLAIN
};

pub(super) static QWEN2_5VL: Architecture = Architecture {
    classes: &[class("Qwen2_5_VLForConditionalGeneration")],
    hyperparameters: |hp, keys| {
        let whole = vision_keys(hp, keys)?;
        keys.set("projector_type", "qwen2.5vl_merger");
        keys.set("use_silu", true);
        keys.set("vision.n_wa_pattern", period_of_full_blocks(hp)?);
        epsilon(hp, keys, &whole)
    },
    model_types: &[&QWEN2_5VL_TYPE],
    ..QWEN2VL
};

const RULES: &[Rule] = &[
    exact(
        "visual.patch_embed.proj.weight",
        "v.patch_embd.weight",
        Transform::View(|_, v| Ok(frame(v, 0)), None),
    ),
    exact(
        "visual.patch_embed.proj.weight",
        "v.patch_embd.weight.1",
        Transform::View(|_, v| Ok(frame(v, 1)), None),
    ),
    copy("visual.blocks.{}.norm1", "v.blk.{}.ln1"),
    rule(
        "visual.blocks.{}.attn.qkv",
        "v.blk.{}.attn_q",
        Transform::Rows(|_, n| Ok(third(n, 0))),
    ),
    rule(
        "visual.blocks.{}.attn.qkv",
        "v.blk.{}.attn_k",
        Transform::Rows(|_, n| Ok(third(n, 1))),
    ),
    rule(
        "visual.blocks.{}.attn.qkv",
        "v.blk.{}.attn_v",
        Transform::Rows(|_, n| Ok(third(n, 2))),
    ),
    copy("visual.blocks.{}.attn.proj", "v.blk.{}.attn_out"),
    copy("visual.blocks.{}.norm2", "v.blk.{}.ln2"),
    copy("visual.blocks.{}.mlp.fc1", "v.blk.{}.ffn_up"),
    copy("visual.blocks.{}.mlp.fc2", "v.blk.{}.ffn_down"),
    copy("visual.blocks.{}.mlp.gate_proj", "v.blk.{}.ffn_gate"),
    copy("visual.blocks.{}.mlp.up_proj", "v.blk.{}.ffn_up"),
    copy("visual.blocks.{}.mlp.down_proj", "v.blk.{}.ffn_down"),
    copy("visual.merger.ln_q", "v.post_ln"),
    copy("visual.merger.mlp.{}", "mm.{}"),
];

/// Frames of a video that a patch is made of.
const FRAMES: u64 = 2;

/// Of a convolution over two frames, that over one.
pub(super) fn frame(view: View, which: u64) -> Option<View> {
    if view.shape().get(2) != Some(&FRAMES) {
        return None;
    }
    view.cut(2, which, 1)?.without(2)
}

pub(super) fn third(stored: u64, which: u64) -> Rows {
    Rows::range(which * (stored / 3), stored / 3)
}

/// Convolutions over frames are never quantized.
pub(super) fn frames(name: &str, ty: TensorType) -> Option<TensorType> {
    name.starts_with("v.patch_embd.weight").then_some(match ty {
        TensorType::F16 => TensorType::F16,
        _ => TensorType::F32,
    })
}

/// Side of an image where the configuration does not say.
const IMAGE_SIZE: u64 = 560;

/// Brings the configuration's keys to those that other encoders have.
fn rename(config: &mut Map<String, Value>) {
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

fn epsilon(hp: &Hparams, keys: &mut Keys<'_>, whole: &Map<String, Value>) -> Result<()> {
    let epsilon = match whole.get("rms_norm_eps") {
        Some(value) => hp.to_f32("rms_norm_eps", value)?,
        None => 1e-6,
    };
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
            "fullatt_block_indexes is {list}, even steps from the first expected"
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

static QWEN2VL_TYPE: ModelType = ModelType {
    name: "qwen2_vl",
    defaults: &[
        ("depth", Default::Int(32)),
        ("embed_dim", Default::Int(1280)),
        ("hidden_size", Default::Int(3584)),
        ("num_heads", Default::Int(16)),
        ("patch_size", Default::Int(14)),
    ],
    ..ModelType::UNROTATED
};

static QWEN2_5VL_TYPE: ModelType = ModelType {
    name: "qwen2_5_vl",
    defaults: &[
        ("depth", Default::Int(32)),
        ("hidden_size", Default::Int(3584)),
        ("intermediate_size", Default::Int(3420)),
        ("num_heads", Default::Int(16)),
        ("patch_size", Default::Int(14)),
    ],
    ..ModelType::UNROTATED
};
