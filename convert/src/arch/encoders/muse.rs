//! The image encoder of Muse Glimmer.

use serde_json::Value;

use super::keys::vision_keys;
use super::{ENCODER, HOOKS, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, copy, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, View, class};

pub(super) static MUSE_GLIMMER: Architecture = Architecture {
    classes: &[class("MuseGlimmerForConditionalGeneration")],
    rules: &[RULES, names::VISION],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        keys.set("projector_type", "muse-glimmer");
        keys.set(
            "vision.attention.layer_norm_epsilon",
            hp.f32(&["layer_norm_eps"])?,
        );
        keys.set("vision.spatial_merge_size", hp.u32(&["merge_size"])?);
        Ok(())
    },
    hooks: Hooks {
        // Images have any size; this is one with a position for each patch.
        prepare: |config| {
            let number = |key: &str| config.get(key).and_then(Value::as_u64);
            let sides = ["pos_emb_height", "patch_size", "merge_size"].map(number);
            let size = sides.into_iter().try_fold(1u64, |n, side| n.checked_mul(side?));
            if let Some(size) = size {
                config.insert("image_size".to_owned(), size.into());
            }
        },
        canonical: |_, name| {
            let is_own = [
                "model.vision_tower.",
                "model.vision_adapter.",
                "model.vision_projection.",
            ];
            let is_own = is_own.iter().any(|p| name.starts_with(p));
            (is_own && !name.contains("language_model.")).then_some(name)
        },
        ..HOOKS
    },
    ..ENCODER
};

const BLOCK: Scope = Scope::new("model.vision_tower.layers.{}", "v.blk.{}");

const RULES: &[Rule] = &[
    exact_with(
        "model.vision_tower.patch_embedder.patch_embedding.weight",
        "v.patch_embd.weight",
        Transform::Sum(frame),
    ),
    BLOCK.rule("attn.q_proj", "attn_q", Transform::PermuteQuery),
    BLOCK.rule("attn.k_proj", "attn_k", Transform::PermuteQuery),
    copy("model.vision_adapter.fc1", "mm.0"),
    copy("model.vision_adapter.fc2", "mm.1"),
    copy("model.vision_projection", "mm.2"),
];

/// Of the weights over two frames, those over one, as a convolution.
fn frame(hp: &Hparams, view: View, which: u64) -> Result<Option<View>> {
    let side = u64::from(hp.u32(&["patch_size"])?);
    let frames = u64::from(hp.u32(&["patch_temporal"])?);
    let part = |view: View| {
        let rows = *view.shape().first()?;
        let view = view
            .split(1, (frames == 2).then_some(2)?)?
            .cut(1, which, 1)?
            .without(1)?;
        view.shaped(&[rows, 3, side, side])
    };
    Ok(part(view))
}
