//! The image encoders of Kimi-VL and Kimi K2.5, and that of GLM-5.2 Vision, which is the latter.

use super::keys::{epsilon, preprocessor, processor_u32, vision_keys};
use super::parts::THIRDS;
use super::{ENCODER, HOOKS, encoder_name, names};
use serde_json::Value;

use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, copy, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, Keys, Rows, Strided, View, class};

pub(super) static KIMI_VL: Architecture = Architecture {
    classes: &[class("KimiVLForConditionalGeneration")],
    rules: &[KIMI_VL_RULES, names::VISION],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        keys.set("projector_type", "kimivl");
        keys.set("use_gelu", true);
        keys.set("vision.projector.scale_factor", 2u32);
        epsilon(hp, keys, "layer_norm_eps", 1e-5)
    },
    hooks: Hooks {
        prepare: |config| {
            config.insert("image_size".to_owned(), KIMI_VL_SIZE.into());
        },
        canonical: |_, name| encoder_name(name),
        ..HOOKS
    },
    ..ENCODER
};

/// Side of an image, in place of one that the configuration does not have.
const KIMI_VL_SIZE: u64 = 64 * 14;

const BLOCK: Scope = Scope::new("vision_tower.encoder.blocks.{}", "v.blk.{}");

const KIMI_VL_RULES: &[Rule] = &[
    exact_with(
        "vision_tower.patch_embed.pos_emb.weight",
        "v.position_embd.weight",
        Transform::View(rows_of_a_grid, None),
    ),
    BLOCK.rule("wqkv", "attn_q", THIRDS[0]),
    BLOCK.rule("wqkv", "attn_k", THIRDS[1]),
    BLOCK.rule("wqkv", "attn_v", THIRDS[2]),
];

/// Positions in rows and columns as one list.
fn rows_of_a_grid(_: &Hparams, view: View) -> Result<Option<View>> {
    Ok(match view.shape()[..] {
        [height, width, size] => height
            .checked_mul(width)
            .and_then(|positions| view.shaped(&[positions, size])),
        _ => None,
    })
}

pub(super) static KIMI_K2_5: Architecture = Architecture {
    classes: &[
        class("KimiK25ForConditionalGeneration"),
        class("Glm5vForConditionalGeneration"),
    ],
    rules: &[KIMI_K2_5_RULES, names::VISION],
    hyperparameters: kimi_k2_5_keys,
    hooks: Hooks {
        prepare: |config| {
            let number = |key: &str, default| config.get(key).map_or(Some(default), Value::as_u64);
            let size = number("init_pos_emb_height", GRID).zip(number("patch_size", PATCH));
            if let Some(size) = size.and_then(|(side, patch)| side.checked_mul(patch)) {
                config.insert("image_size".to_owned(), size.into());
            }
            config.entry("patch_size").or_insert(PATCH.into());
        },
        canonical: |_, name| {
            let is_own = ["vision_tower", "mm_projector"].iter().any(|p| name.contains(p));
            (is_own && !name.contains("language_model.")).then_some(name)
        },
        ..HOOKS
    },
    ..ENCODER
};

/// Side of the grid of positions, and of a patch, where the configuration does not say.
const GRID: u64 = 64;
const PATCH: u64 = 14;
/// Query heads where the configuration has no key of the usual name.
const HEADS: u32 = 16;
/// Patches of the smallest image.
const FEWEST_PATCHES: u32 = 8;
/// Patches of the largest image where the preprocessor does not say.
const MOST_PATCHES: u32 = 16384;

const KIMI_K2_5_RULES: &[Rule] = &[
    BLOCK.rule("wqkv", "attn_qkv", Transform::Rows(rotated_halves)),
    copy("mm_projector.proj.0", "mm.1"),
    copy("mm_projector.proj.2", "mm.2"),
    copy("mm_projector.linear_{}", "mm.{}"),
];

/// Query and key rows, stored by pairs of both axes in turn, with all pairs of one axis first.
fn rotated_halves(hp: &Hparams, stored: u64) -> Result<Rows> {
    let heads = u64::from(hp.opt_u32(&["num_attention_heads"])?.unwrap_or(HEADS));
    let third = stored / 3;
    let head = third.checked_div(heads).unwrap_or(0);
    if !stored.is_multiple_of(3) || head == 0 || head * heads != third || !head.is_multiple_of(4) {
        return Err(hp.error(format!(
            "expected rows of query, key and value that can be divided among {heads} heads in fours, found {stored}"
        )));
    }
    let halves = |start| Strided::new(start, &[(heads, head), (2, 2), (head / 4, 4), (2, 1)]);
    Ok(Rows(vec![
        halves(0),
        halves(third),
        Strided::range(2 * third, third),
    ]))
}

fn kimi_k2_5_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "kimik25");
    for (key, default) in [("height", 64), ("width", 64), ("time", 4)] {
        let length = hp.opt_u32(&[&format!("init_pos_emb_{key}")])?;
        keys.set_global(&format!("vision.pos_emb_{key}"), length.unwrap_or(default));
    }
    // One that is null is none of those that the projector may have.
    let activation = hp.values().get("projector_hidden_act");
    keys.set("use_gelu", activation.is_none_or(|name| name == "gelu"));
    epsilon(hp, keys, "projector_ln_eps", 1e-5)?;
    let merge = hp.find(&["merge_kernel_size"]).and_then(|sizes| sizes.get(0));
    let merge = merge.map(|n| hp.to_u32("merge_kernel_size", n)).transpose()?;
    keys.set("vision.projector.scale_factor", merge.unwrap_or(2));
    let most = processor_u32(hp, &preprocessor(keys.dir)?, "in_patch_limit")?;
    let patch = hp.u32(&["patch_size"])?;
    for (suffix, patches) in [
        ("vision.image_min_pixels", FEWEST_PATCHES),
        ("vision.image_max_pixels", most.unwrap_or(MOST_PATCHES)),
    ] {
        keys.set(suffix, hp.product(&[patches, patch, patch])?);
    }
    Ok(())
}
