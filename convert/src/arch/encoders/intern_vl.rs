//! The image encoder of InternVL.

use super::keys::{activation, vision_keys, whole_part};
use super::parts::THIRDS;
use super::{ENCODER, HOOKS, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope};
use crate::arch::{Architecture, Hooks, Hparams, Keys, class};

pub(super) static INTERN_VL: Architecture = Architecture {
    classes: &[class("InternVLChatModel"), class("InternVisionModel")],
    rules: &[INTERN_VL_RULES, names::VISION],
    hyperparameters: intern_vl_keys,
    hooks: Hooks {
        prepare: |config| {
            for key in ["image_size", "patch_size"] {
                if let Some(first) = config.get(key).and_then(|size| size.get(0)).cloned() {
                    config.insert(key.to_owned(), first);
                }
            }
        },
        canonical,
        ..HOOKS
    },
    ..ENCODER
};

const BLOCK: Scope = Scope::new("vision_tower.vision_model.encoder.layers.{}", "v.blk.{}");

const INTERN_VL_RULES: &[Rule] = &[
    BLOCK.rule("attn.qkv", "attn_q", THIRDS[0]),
    BLOCK.rule("attn.qkv", "attn_k", THIRDS[1]),
    BLOCK.rule("attn.qkv", "attn_v", THIRDS[2]),
];

/// Layers of the projector, under the names that `transformers` gives them, and their numbers.
const PROJECTOR: [(&str, &str); 3] = [
    ("model.multi_modal_projector.layer_norm.", "mlp1.0."),
    ("model.multi_modal_projector.linear_1.", "mlp1.1."),
    ("model.multi_modal_projector.linear_2.", "mlp1.3."),
];

fn canonical(_: &Hparams, name: String) -> Option<String> {
    let is_own = [
        "vision_model",
        "mlp",
        "model.vision_tower",
        "model.multi_modal_projector",
    ];
    if !is_own.iter().any(|p| name.starts_with(p)) {
        return None;
    }
    let layer = |(from, to): &(&str, &str)| Some(format!("{to}{}", name.strip_prefix(from)?));
    let mut name = PROJECTOR.iter().find_map(layer).unwrap_or(name);
    if name.starts_with("vision_model") {
        name.insert_str(0, "vision_tower.");
    }
    let is_bare = [".ls", ".lambda_", "position_embedding"]
        .iter()
        .any(|p| name.contains(p));
    if is_bare && !name.ends_with(".weight") {
        name.push_str(".weight");
    }
    Some(name)
}

fn intern_vl_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "internvl");
    keys.set(
        "vision.attention.layer_norm_epsilon",
        hp.f32(&["layer_norm_eps"])?,
    );
    activation(hp, keys)?;
    let ratio = hp.whole().opt_f64(&["downsample_ratio"])?.unwrap_or(0.0);
    keys.set("vision.projector.scale_factor", whole_part(hp, 1.0 / ratio)?);
    for (suffix, key) in [
        ("vision.preproc_min_tiles", "min_dynamic_patch"),
        ("vision.preproc_max_tiles", "max_dynamic_patch"),
    ] {
        let tiles = hp.whole().opt_u32(&[key])?;
        keys.set_some(suffix, tiles.filter(|&n| n > 0));
    }
    Ok(())
}
