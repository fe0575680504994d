//! The image encoders of Qwen3-VL and Qwen3.5.

use gguf::{Array, Value as GgufValue};
use serde_json::{Map, Value};

use super::qwen2vl::{frame, frames};
use super::{CLIP, vision_keys};
use crate::Result;
use crate::arch::rules::names::{Rule, Transform, copy, exact};
use crate::arch::{Architecture, Default, Hooks, Hparams, Keys, ModelType, PLAIN, class};

pub(super) static QWEN3VL: Architecture = Architecture {
    classes: &[class("Qwen3VLForConditionalGeneration")],
    hooks: Hooks {
        prepare: |config| {
            config.entry(DEEP).or_insert(DEEP_BLOCKS.to_vec().into());
            rename(config);
        },
        ..QWEN3_5.hooks
    },
    model_types: &[&QWEN3VL_TYPE],
    ..QWEN3_5
};

pub(super) static QWEN3VL_MOE: Architecture = Architecture {
    classes: &[class("Qwen3VLMoeForConditionalGeneration")],
    model_types: &[&QWEN3VL_MOE_TYPE],
    ..QWEN3VL
};

pub(super) static QWEN3_5: Architecture = Architecture {
    gguf: CLIP,
    classes: &[
        class("Qwen3_5ForConditionalGeneration"),
        class("Qwen3_5MoeForConditionalGeneration"),
    ],
    rules: &[RULES],
    hyperparameters,
    hooks: Hooks {
        prepare: rename,
        canonical: |hp, name| {
            let name = name.strip_prefix("model.").unwrap_or(&name);
            name.starts_with("visual.").then(|| numbered_by_block(hp, name))
        },
        force: |_, name, ty| frames(name, ty),
        ..Hooks::NONE
    },
    ..PLAIN
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
    exact(
        "visual.patch_embed.proj.bias",
        "v.patch_embd.bias",
        Transform::Copy,
    ),
    copy("visual.pos_embed", "v.position_embd"),
    copy("visual.blocks.{}.norm1", "v.blk.{}.ln1"),
    copy("visual.blocks.{}.attn.qkv", "v.blk.{}.attn_qkv"),
    copy("visual.blocks.{}.attn.proj", "v.blk.{}.attn_out"),
    copy("visual.blocks.{}.norm2", "v.blk.{}.ln2"),
    copy("visual.blocks.{}.mlp.linear_fc1", "v.blk.{}.ffn_up"),
    copy("visual.blocks.{}.mlp.linear_fc2", "v.blk.{}.ffn_down"),
    copy("visual.merger.norm", "v.post_ln"),
    copy("visual.merger.linear_fc1", "mm.0"),
    copy("visual.merger.linear_fc2", "mm.2"),
    copy("visual.deepstack.{}.norm", "v.deepstack.{}.norm"),
    copy("visual.deepstack.{}.linear_fc1", "v.deepstack.{}.fc1"),
    copy("visual.deepstack.{}.linear_fc2", "v.deepstack.{}.fc2"),
];

/// The blocks whose outputs go to the first layers of the text model.
const DEEP: &str = "deepstack_visual_indexes";
/// Those of Qwen3-VL where the configuration does not say.
const DEEP_BLOCKS: [u64; 3] = [8, 16, 24];
/// Positions of an image where the configuration does not say.
const POSITIONS: f64 = 2304.0;

/// Brings the configuration's keys to those that other encoders have.
fn rename(config: &mut Map<String, Value>) {
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
        .ok_or_else(|| hp.error(format!("vision_config: {DEEP} is no list")))?;
    list.iter().map(|n| hp.to_u32(DEEP, n)).collect()
}

/// A merger of a block's output is numbered by its place in the list; the file has the block's number.
fn numbered_by_block(hp: &Hparams, name: &str) -> String {
    let renamed = || {
        let (at, rest) = name
            .strip_prefix("visual.deepstack_merger_list.")?
            .split_once('.')?;
        let block = deep_blocks(hp).ok()?.get(at.parse::<usize>().ok()?).copied()?;
        Some(format!("visual.deepstack.{block}.{rest}"))
    };
    renamed().unwrap_or_else(|| name.to_owned())
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let whole = vision_keys(hp, keys)?;
    keys.set("projector_type", "qwen3vl_merger");
    keys.set("use_gelu", true);
    keys.set_some("vision.spatial_merge_size", hp.opt_u32(&["spatial_merge_size"])?);
    let epsilon = whole.get("text_config").and_then(|text| text.get("rms_norm_eps"));
    let epsilon = epsilon.map(|e| hp.to_f32("rms_norm_eps", e)).transpose()?;
    keys.set("vision.attention.layer_norm_epsilon", epsilon.unwrap_or(1e-6));
    let mut deep = vec![false; hp.block_count() as usize];
    for block in deep_blocks(hp)? {
        let blocks = deep.len();
        let flag = deep
            .get_mut(block as usize)
            .ok_or_else(|| hp.error(format!("vision_config: {DEEP} names block {block} of {blocks}")))?;
        *flag = true;
    }
    if !deep.is_empty() {
        keys.set("vision.is_deepstack_layers", GgufValue::Array(Array::Bool(deep)));
    }
    Ok(())
}

static QWEN3VL_TYPE: ModelType = ModelType {
    name: "qwen3_vl",
    defaults: &[
        ("depth", Default::Int(27)),
        ("hidden_size", Default::Int(1152)),
        ("intermediate_size", Default::Int(4304)),
        ("num_heads", Default::Int(16)),
        ("patch_size", Default::Int(16)),
        ("spatial_merge_size", Default::Int(2)),
        ("num_position_embeddings", Default::Int(2304)),
    ],
    ..ModelType::UNROTATED
};

static QWEN3VL_MOE_TYPE: ModelType = ModelType {
    name: "qwen3_vl_moe",
    extends: Some(&QWEN3VL_TYPE),
    ..ModelType::UNROTATED
};
