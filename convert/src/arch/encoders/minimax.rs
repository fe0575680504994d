//! The image encoder of MiniMax-M3.

use super::keys::{epsilon, vision_keys};
use super::parts::frame;
use super::{ENCODER, HOOKS, encoder_name, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, Keys, Rows, Strided, class};

pub(super) static MINIMAX_M3: Architecture = Architecture {
    classes: &[class("MiniMaxM3SparseForConditionalGeneration")],
    rules: &[RULES, names::VISION],
    hyperparameters,
    hooks: Hooks {
        canonical: |_, name| match name.starts_with("patch_merge_mlp.") {
            true => Some(name),
            false => encoder_name(name),
        },
        ..HOOKS
    },
    ..ENCODER
};

const BLOCK: Scope = Scope::new("vision_tower.vision_model.encoder.layers.{}", "v.blk.{}");

const RULES: &[Rule] = &[
    exact_with(
        "vision_tower.vision_model.embeddings.patch_embedding.weight",
        "v.patch_embd.weight",
        Transform::View(|_, v| Ok(frame(v, 0)), None),
    ),
    exact_with(
        "vision_tower.vision_model.embeddings.patch_embedding.weight",
        "v.patch_embd.weight.1",
        Transform::View(|_, v| Ok(frame(v, 1)), None),
    ),
    BLOCK.rule("self_attn.q_proj", "attn_q", Transform::Rows(by_axis)),
    BLOCK.rule("self_attn.k_proj", "attn_k", Transform::Rows(by_axis)),
];

/// Rows of a head, which llama.cpp's rotation expects.
const HEAD: u64 = 80;
/// Numbers of one half of an axis, of which time, height and width are rotated by.
const AXIS: u64 = 2 * (HEAD / 2) / 3 / 2;

/// The rows of each head, stored as first halves of the three axes, then second halves, then the rest, with the halves
/// of each axis together.
fn by_axis(hp: &Hparams, stored: u64) -> Result<Rows> {
    let heads = u64::from(hp.u32(&["num_attention_heads"])?);
    if heads.checked_mul(HEAD) != Some(stored) {
        return Err(hp.error(format!(
            "expected {HEAD} rows in each of {heads} heads, found {stored} in all"
        )));
    }
    let rows = (0..heads).flat_map(|head| {
        let start = head * HEAD;
        let rotated = Strided::new(start, &[(3, AXIS), (2, 3 * AXIS), (AXIS, 1)]);
        [rotated, Strided::range(start + 6 * AXIS, HEAD - 6 * AXIS)]
    });
    Ok(Rows(rows.collect()))
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "minimax_m3");
    keys.set("use_gelu", true);
    epsilon(hp, keys, "layer_norm_eps", 1e-5)?;
    let compression = hp.find(&["img_token_compression_config"]);
    let merge = compression.and_then(|c| c.get("spatial_merge_size"));
    let merge = merge.map(|n| hp.to_u32("spatial_merge_size", n)).transpose()?;
    keys.set("vision.spatial_merge_size", merge.unwrap_or(2));
    Ok(())
}
