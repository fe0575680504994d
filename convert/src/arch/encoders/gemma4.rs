//! The encoders of Gemma 4, of images and of sound, and those of its unified variant, which have no blocks.

use gguf::TensorType;
use serde_json::{Map, Value};

use super::keys::{audio_keys_of, epsilon, vision_keys};
use super::parts::{SQUEEZED, by_points};
use super::{ENCODER, HOOKS, convolution, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, exact_with, kept_with};
use crate::arch::{Architecture, Hooks, Hparams, Keys, View, class};

pub(super) static GEMMA4: Architecture = Architecture {
    classes: &[class("Gemma4ForConditionalGeneration")],
    rules: &[RULES, names::VISION, names::AUDIO],
    hyperparameters: |hp, keys| keys_of(hp, keys, ["gemma4v", "gemma4a"]),
    hooks: Hooks {
        // An empty one is none.
        audio: |whole| {
            whole
                .get("audio_config")?
                .as_object()
                .filter(|c| !c.is_empty())
                .cloned()
        },
        prepare: |config| {
            // llama.cpp does not use it.
            config.insert("image_size".to_owned(), 224.into());
        },
        canonical: |_, name| canonical(name),
        force: |_, name, ty| {
            let is_sound = name.stored.starts_with("conformer.") || name.stored.contains("embed_audio");
            let is_convolution = name.stored.contains(".conv")
                || name.stored.contains("_conv") && name.stored.contains(".weight");
            let is_exact = is_sound && is_convolution || name.stored.contains("position_embedding_table");
            match is_exact {
                true => Some(TensorType::F32),
                false => convolution(name, ty),
            }
        },
        ..HOOKS
    },
    ..ENCODER
};

fn canonical(name: String) -> Option<String> {
    if name.contains("language_model.") {
        return None;
    }
    let mut name = name;
    if name.contains("audio_tower") || name.contains("embed_audio") {
        name = name
            .replace("model.audio_tower.", "conformer.")
            .replace(".linear.", ".");
        if name.ends_with("per_dim_key_scale") || name.ends_with("per_dim_scale") {
            name.push_str(".weight");
        }
        return Some(name);
    }
    name = name.replace("model.vision_tower.encoder.", "vision_model.model.");
    name = name.replace(".linear.weight", ".weight");
    if name.ends_with("layer_scalar") || name.ends_with("position_embedding_table") {
        name.push_str(".weight");
    }
    Some(name)
}

const CONFORMER: Scope = Scope::new("conformer.layers.{}", "a.blk.{}");

const RULES: &[Rule] = &[
    exact_with(
        "model.vision_tower.patch_embedder.input_proj.weight",
        "v.patch_embd.weight",
        Transform::View(patches, None),
    ),
    CONFORMER.exact_with(
        "self_attn.per_dim_scale.weight",
        "per_dim_scale.weight",
        Transform::Map(softplus),
    ),
    CONFORMER.exact_with(
        "attention.attn.per_dim_scale.weight",
        "per_dim_scale.weight",
        Transform::Map(softplus),
    ),
    CONFORMER.exact_with(
        "attention.attn.per_dim_key_scale.weight",
        "per_dim_k_scale.weight",
        Transform::Map(softplus),
    ),
    CONFORMER.exact_with("lconv1d.depthwise_conv1d.weight", "conv_dw.weight", SQUEEZED),
    kept_with(
        "vision_model.model.layers.{}.layer_scalar",
        "v.blk.{}.out_scale",
        SQUEEZED,
    ),
];

/// Rounded correctly, as few vector instructions do.
fn softplus(x: f32) -> f32 {
    match x > 20.0 {
        true => x,
        false => f64::from(x).exp().ln_1p() as f32,
    }
}

/// Patches of three colours, by points.
fn patches(_: &Hparams, view: View) -> Result<Option<View>> {
    let side = view.shape().get(1).map_or(0, |n| (n / 3).isqrt());
    Ok(by_points(view, side))
}

fn keys_of(hp: &Hparams, keys: &mut Keys<'_>, [images, sound]: [&str; 2]) -> Result<()> {
    vision_keys(hp, keys)?;
    if hp.has_both() {
        let audio = hp.audio();
        let width = audio.u32(&["audio_embed_dim", "hidden_size"])?;
        let numbers = match audio.opt_u32(&["audio_embed_dim"])? {
            Some(_) => [width, 0, 0, 0],
            None => [
                width,
                audio.times(4, &["hidden_size"])?,
                audio.encoder_blocks()?,
                audio.u32(&["num_attention_heads"])?,
            ],
        };
        audio_keys_of(hp, keys, numbers)?;
    }
    keys.set("vision.projector_type", images);
    epsilon(hp, keys, "layer_norm_eps", 1e-6)?;
    if hp.has_both() {
        let audio = hp.audio();
        keys.set("audio.projector_type", sound);
        let mels = audio.opt_u32(&["input_feat_size"])?;
        keys.set("audio.num_mel_bins", mels.unwrap_or(128));
        let epsilon = audio.opt_f32(&["layer_norm_eps"])?;
        keys.set("audio.attention.layer_norm_epsilon", epsilon.unwrap_or(1e-6));
    }
    Ok(())
}

pub(super) static GEMMA4_UNIFIED: Architecture = Architecture {
    classes: &[class("Gemma4UnifiedForConditionalGeneration")],
    rules: &[UNIFIED_RULES, RULES, names::VISION, names::AUDIO],
    hyperparameters: |hp, keys| {
        if !hp.has_both() {
            return Err(hp.error("expected an audio_config, which this class has, found none".to_owned()));
        }
        keys_of(hp, keys, ["gemma4uv", "gemma4ua"])
    },
    hooks: Hooks {
        prepare: |config: &mut Map<String, Value>| {
            config.insert("image_size".to_owned(), 224.into());
            if let Some(width) = config.get("mm_embed_dim").cloned() {
                config.insert("hidden_size".to_owned(), width);
            }
            for key in [
                "intermediate_size",
                "num_hidden_layers",
                "num_layers",
                "num_attention_heads",
            ] {
                config.insert(key.to_owned(), 0.into());
            }
        },
        canonical: |_, name| {
            let mut name = name.replace(".pos_norm.", ".patch_ln3.");
            if name.ends_with("pos_embedding") {
                name.push_str(".weight");
            }
            canonical(name)
        },
        ..GEMMA4.hooks
    },
    ..GEMMA4
};

const UNIFIED_RULES: &[Rule] = &[
    exact_with(
        "model.vision_embedder.pos_embedding.weight",
        "v.position_embd.weight",
        Transform::View(|_, view| Ok(view.swap(0, 1)), None),
    ),
    exact_with(
        "model.vision_embedder.patch_dense.weight",
        "v.patch_embd.weight",
        Transform::View(|hp, view| by_colour(hp, view, 1), None),
    ),
    exact_with(
        "model.vision_embedder.patch_ln1.weight",
        "v.patch_norm.1.weight",
        Transform::View(|hp, view| by_colour(hp, view, 0), None),
    ),
    exact_with(
        "model.vision_embedder.patch_ln1.bias",
        "v.patch_norm.1.bias",
        Transform::View(|hp, view| by_colour(hp, view, 0), None),
    ),
];

/// Numbers of a patch, stored by points, by colours.
fn by_colour(hp: &Hparams, view: View, dim: usize) -> Result<Option<View>> {
    let side = match hp.opt_u32(&["model_patch_size"])? {
        Some(side) => side,
        None => hp.product(&[hp.u32(&["patch_size"])?, hp.u32(&["pooling_kernel_size"])?])?,
    };
    let shape = view.shape();
    let parts = |view: View| {
        let points = u64::from(side).checked_mul(u64::from(side))?;
        let view = (view.shape().get(dim)? == &points.checked_mul(3)?).then_some(view)?;
        view.split(dim, points)?.swap(dim, dim + 1)?.shaped(&shape)
    };
    Ok(parts(view))
}
