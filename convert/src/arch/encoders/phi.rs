//! The image encoder of Phi-4 with images, whose last block the model does not use.

use super::keys::{epsilon, preprocessor, required, vision_keys};
use super::parts::by_points;
use super::{ENCODER, HOOKS, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Transform, copy, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, Keys, View, class};

pub(super) static PHI4: Architecture = Architecture {
    classes: &[class("Phi4ForCausalLMV")],
    rules: &[RULES, names::VISION],
    hyperparameters,
    hooks: Hooks {
        // By the number of positions, and by the preprocessor, below.
        prepare: |config| {
            for key in ["image_size", "patch_size"] {
                config.insert(key.to_owned(), 0.into());
            }
        },
        canonical,
        ..HOOKS
    },
    ..ENCODER
};

const POSITIONS: &str = "vision_tower.vision_model.embeddings.position_embedding.weight";
/// The beginning of the names of the encoder's tensors in other directories.
const OUTER: &str = "model.vision_tower.vision_tower.";

const RULES: &[Rule] = &[
    exact_with(
        "vision_tower.vision_model.embeddings.patch_embedding.weight",
        "v.patch_embd.weight",
        Transform::View(patches, None),
    ),
    copy("mm_projector.0", "mm.0"),
    copy("mm_projector.2", "mm.2"),
];

fn canonical(hp: &Hparams, name: String) -> Option<String> {
    let name = name.replace(OUTER, "vision_tower.");
    if name.contains("language_model.") {
        return None;
    }
    let projector = name.strip_prefix("model.").unwrap_or(&name);
    if projector.starts_with("mm_projector.") {
        let layer = projector.split('.').nth(1)?;
        return ["0", "2"].contains(&layer).then(|| projector.to_owned());
    }
    let unused = [".vision_model.head.", ".vision_model.post_layernorm."];
    if !name.starts_with("vision_tower.") || unused.iter().any(|p| name.contains(p)) {
        return None;
    }
    let is_last = |n: &str| {
        n.parse::<u32>()
            .is_ok_and(|n| n.checked_add(1) == Some(hp.block_count()))
    };
    let block = name
        .split('.')
        .find(|part| part.bytes().all(|b| b.is_ascii_digit()));
    (!block.is_some_and(is_last)).then_some(name)
}

fn patch_size(hp: &Hparams) -> Result<u32> {
    required(hp, &preprocessor(hp.dir())?, "patch_size")
}

fn patches(hp: &Hparams, view: View) -> Result<Option<View>> {
    Ok(by_points(view, u64::from(patch_size(hp)?)))
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let blocks = hp.block_count().checked_sub(1).filter(|&n| n > 0);
    let blocks = blocks.ok_or_else(|| hp.error("expected at least two blocks, found one".to_owned()))?;
    let patch = patch_size(hp)?;
    let positions = [POSITIONS.to_owned(), POSITIONS.replace("vision_tower.", OUTER)];
    let shape = positions.iter().find_map(|name| (keys.shape)(name));
    let count = shape.and_then(|shape| shape.first().copied()).unwrap_or(0);
    let side = u32::try_from(count.isqrt()).unwrap_or(0);
    if side == 0 || u64::from(side) * u64::from(side) != count {
        return Err(hp.error(format!(
            "tensor '{POSITIONS}': expected a square number of positions, found {count}"
        )));
    }
    vision_keys(hp, keys)?;
    keys.set("vision.image_size", hp.product(&[side, patch])?);
    keys.set("vision.patch_size", patch);
    keys.set("vision.block_count", blocks);
    keys.set("projector_type", "phi4");
    let processor = preprocessor(keys.dir)?;
    for (suffix, key) in [
        ("vision.image_min_pixels", "min_num_patches"),
        ("vision.image_max_pixels", "max_num_patches"),
    ] {
        let own = super::keys::processor_u32(hp, &processor, key)?;
        let patches = own.map_or_else(|| hp.whole().u32(&[key]), Ok)?;
        keys.set(suffix, hp.product(&[patches, patch, patch])?);
    }
    keys.set("use_gelu", true);
    epsilon(hp, keys, "layer_norm_eps", 1e-6)
}
