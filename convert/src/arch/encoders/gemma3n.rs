//! The encoders of Gemma 3n: MobileNet of images, a conformer of sound.

use gguf::TensorType;
use serde_json::{Value, json};

use super::keys::{audio_keys_of, epsilon, preprocessor, processor_u32, vision_keys_by};
use super::{ENCODER, HOOKS, convolution, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, exact_with, kept};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, View, class};

pub(super) static GEMMA3N: Architecture = Architecture {
    classes: &[class("Gemma3nForConditionalGeneration")],
    rules: &[STEM, BLOCKS, names::VISION, names::AUDIO],
    hyperparameters,
    model_types: &[&VISION_TYPE, &AUDIO_TYPE],
    hooks: Hooks {
        audio: |whole| whole.get("audio_config")?.as_object().cloned(),
        prepare: |config| {
            let inner = config.get("intermediate_size").and_then(Value::as_u64);
            let inner = inner.unwrap_or(WIDTH).saturating_mul(4);
            config.insert("intermediate_size".to_owned(), inner.into());
            config.entry("num_attention_heads").or_insert(HEADS.into());
            // MobileNet has stages, not blocks; this is what llama.cpp takes for any number.
            for key in ["n_layers", "num_hidden_layers"] {
                config.insert(key.to_owned(), 128.into());
            }
            for key in ["image_size", "patch_size"] {
                config.insert(key.to_owned(), 0.into());
            }
        },
        canonical: |_, name| {
            if name.contains("language_model.") {
                return None;
            }
            let is_sound = SOUND.iter().any(|p| name.contains(p));
            let is_own = ["model.embed_vision.", "model.vision_tower."];
            let is_own = is_own.iter().any(|p| name.starts_with(p));
            let renamed = || name.replace("model.audio_tower.conformer.", "conformer.layers.");
            (is_sound || is_own).then(renamed)
        },
        force,
        ..HOOKS
    },
    ..ENCODER
};

/// Width and heads where the configuration does not say.
const WIDTH: u64 = 2048;
const HEADS: u64 = 8;
/// Parts of sound in the names of tensors.
const SOUND: [&str; 3] = ["audio", "codebook", "conformer"];

fn force(_: &Hparams, name: crate::arch::Named<'_>, ty: TensorType) -> Option<TensorType> {
    let has = |part: &str| name.stored.contains(part);
    if has("input_proj") {
        return Some(TensorType::F16);
    }
    let is_sound = SOUND.iter().any(|p| has(p));
    let is_convolution = has(".conv") || has("_conv") && has(".weight");
    if has(".embeddings.") || has("stem") || is_sound && is_convolution {
        return Some(TensorType::F32);
    }
    convolution(name, ty)
}

const STEM: &[Rule] = &[
    exact_with(
        "model.vision_tower.timm_model.conv_stem.conv.bias",
        "v.conv_stem.conv.bias",
        Transform::View(over_channels, None),
    ),
    kept(
        "model.audio_tower.subsample_conv_projection.conv_{}.norm",
        "a.conv1d.{}.norm",
    ),
];

/// A vector over the channels of a batch of images.
fn over_channels(_: &Hparams, view: View) -> Result<Option<View>> {
    let length = view.len();
    Ok(view.shaped(&[1, length, 1, 1]))
}

const BLOCK: Scope = Scope::new("model.vision_tower.timm_model.blocks.{}.{e}", "v.blk.{}.{e}");

/// Tensors that are numbered by stage and block.
const BLOCKS: &[Rule] = &[
    BLOCK.kept("conv_exp", "conv_exp"),
    BLOCK.kept("bn1", "bn1"),
    BLOCK.kept("conv_pwl", "conv_pwl"),
    BLOCK.kept("bn2", "bn2"),
    BLOCK.kept("dw_start.conv", "dw_start.conv"),
    BLOCK.kept("dw_start.bn", "dw_start.bn"),
    BLOCK.kept("dw_mid.conv", "dw_mid.conv"),
    BLOCK.kept("dw_mid.bn", "dw_mid.bn"),
    BLOCK.kept("pw_exp.conv", "pw_exp.conv"),
    BLOCK.kept("pw_exp.bn", "pw_exp.bn"),
    BLOCK.kept("pw_proj.conv", "pw_proj.conv"),
    BLOCK.kept("pw_proj.bn", "pw_proj.bn"),
    BLOCK.kept("layer_scale.gamma", "layer_scale.gamma"),
    BLOCK.kept("attn.query.proj", "attn.query.proj"),
    BLOCK.kept("attn.key.proj", "attn.key.proj"),
    BLOCK.kept("attn.value.proj", "attn.value.proj"),
    BLOCK.kept("attn.output.proj", "attn.output.proj"),
    BLOCK.kept("attn.key.down_conv", "attn.key.down_conv"),
    BLOCK.kept("attn.key.norm", "attn.key.norm"),
    BLOCK.kept("attn.value.down_conv", "attn.value.down_conv"),
    BLOCK.kept("attn.value.norm", "attn.value.norm"),
    BLOCK.kept("norm", "norm"),
];

/// Tokens of an image and its side where the preprocessor does not say.
const TOKENS: u32 = 256;
const SIDE: u32 = 768;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if !hp.has_both() {
        return Err(hp.error("expected an audio_config, which this class has, found none".to_owned()));
    }
    let mut processor = preprocessor(keys.dir)?;
    let tokens = processor_u32(hp, &processor, "image_seq_length")?;
    let side = processor.get("size").and_then(|size| size.get("height"));
    let side = side.map(|n| hp.to_u32("height", n)).transpose()?.unwrap_or(SIDE);
    let patch = side.checked_div(tokens.unwrap_or(TOKENS)).unwrap_or(0);
    processor.insert("image_mean".to_owned(), json!([0.0, 0.0, 0.0]));
    processor.insert("image_std".to_owned(), json!([1.0, 1.0, 1.0]));
    vision_keys_by(hp, keys, &processor)?;
    keys.set("vision.image_size", side);
    keys.set("vision.patch_size", patch);
    let audio = hp.audio();
    let numbers = [
        audio.u32(&["hidden_size"])?,
        audio.opt_u32(&["intermediate_size"])?.unwrap_or(6144),
        audio.u32(&["conf_num_hidden_layers"])?,
        audio.u32(&["conf_num_attention_heads"])?,
    ];
    audio_keys_of(hp, keys, numbers)?;
    keys.set("vision.projector_type", "gemma3nv");
    epsilon(hp, keys, "layer_norm_eps", 1e-6)?;
    keys.set("audio.projector_type", "gemma3na");
    keys.set("audio.num_mel_bins", audio.u32(&["input_feat_size"])?);
    keys.set("audio.attention.layer_norm_epsilon", 1e-5f32);
    Ok(())
}

static VISION_TYPE: ModelType = ModelType::unrotated("gemma3n_vision");

static AUDIO_TYPE: ModelType = ModelType::unrotated("gemma3n_audio");
