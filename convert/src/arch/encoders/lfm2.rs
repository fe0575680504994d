//! The encoders of LFM2: of images and of sound.

use gguf::TensorType;

use super::keys::{audio_keys_of, vision_keys};
use super::parts::{FOLDED_NORM, PLANES, SQUEEZED, by_points};
use super::{ENCODER, HOOKS, convolution, encoder_name, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, class};

pub(super) static LFM2_VL: Architecture = Architecture {
    classes: &[class("Lfm2VlForConditionalGeneration")],
    rules: &[LFM2_VL_RULES, names::VISION],
    hyperparameters: lfm2_vl_keys,
    model_types: &[&SIGLIP2_TYPE],
    hooks: Hooks {
        prepare: |config| {
            config.insert("image_size".to_owned(), LFM2_VL_SIZE.into());
        },
        canonical: |_, name| encoder_name(name),
        ..HOOKS
    },
    ..ENCODER
};

/// Side of an image, in place of one that the configuration does not have.
const LFM2_VL_SIZE: u64 = 256;
/// Side of a patch of SigLIP 2.
const PATCH: u64 = 16;

const CONFORMER: Scope = Scope::new("conformer.layers.{}", "a.blk.{}");

const LFM2_VL_RULES: &[Rule] = &[exact_with(
    "vision_tower.vision_model.embeddings.patch_embedding.weight",
    "v.patch_embd.weight",
    Transform::View(|_, view| Ok(by_points(view, PATCH)), None),
)];

fn lfm2_vl_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "lfm2");
    keys.set(
        "vision.attention.layer_norm_epsilon",
        hp.f32(&["layer_norm_eps"])?,
    );
    let factor = hp.whole().opt_u32(&["downsample_factor"])?;
    keys.set("vision.projector.scale_factor", factor.unwrap_or(2));
    keys.set("use_gelu", true);
    // Counted from the end: -1 is the last block.
    let layer = hp.whole().find(&["vision_feature_layer"]);
    let layer = layer.and_then(serde_json::Value::as_i64).unwrap_or(-1);
    let blocks = i64::from(hp.block_count())
        .checked_add(layer)
        .and_then(|n| n.checked_add(1));
    let blocks = blocks.and_then(|n| u32::try_from(n).ok());
    let blocks =
        blocks.ok_or_else(|| hp.error(format!("vision_feature_layer: expected a block, found {layer}")))?;
    keys.set("vision.block_count", blocks);
    Ok(())
}

static SIGLIP2_TYPE: ModelType = ModelType::unrotated("siglip2_vision_model");

pub(super) static LFM2_AUDIO: Architecture = Architecture {
    classes: &[class("Lfm2AudioForConditionalGeneration")],
    rules: &[LFM2_AUDIO_RULES, names::AUDIO],
    hyperparameters: |hp, keys| {
        let width = hp.u32(&["d_model"])?;
        let numbers = [width, width, hp.encoder_blocks()?, hp.u32(&["n_heads"])?];
        audio_keys_of(hp, keys, numbers)?;
        keys.set("projector_type", "lfm2a");
        keys.set("audio.num_mel_bins", hp.u32(&["feat_in"])?);
        keys.set("audio.attention.layer_norm_epsilon", 1e-5f32);
        Ok(())
    },
    hooks: Hooks {
        vision: |_| None,
        audio: |whole| whole.get("encoder")?.as_object().cloned(),
        canonical: |_, name| {
            let is_other = OF_SPEECH.iter().any(|p| name.contains(p));
            let is_text = name.starts_with("lfm.") || name.contains("language_model.");
            (!is_other && !is_text).then_some(name)
        },
        force: |_, name, ty| {
            let is_convolution = name.stored.contains(".conv")
                || name.stored.contains("_conv") && name.stored.contains(".weight");
            let is_sound = SOUND.iter().any(|p| name.stored.contains(p));
            match is_sound && is_convolution {
                true => Some(TensorType::F32),
                false => convolution(name, ty),
            }
        },
        ..HOOKS
    },
    ..ENCODER
};

/// Tensors that speech is made with, and those it was trained with.
const OF_SPEECH: [&str; 6] = [
    "audio_loss_weight",
    "codebook_offsets",
    "depth_embeddings",
    "depth_linear",
    "depthformer",
    "num_batches_tracked",
];
/// Parts of sound in the names of tensors.
const SOUND: [&str; 3] = ["audio", "codebook", "conformer"];

const LFM2_AUDIO_RULES: &[Rule] = &[
    CONFORMER.exact_with("conv.batch_norm.weight", "conv_norm", FOLDED_NORM[0]),
    CONFORMER.exact_with("conv.batch_norm.bias", "conv_norm", FOLDED_NORM[1]),
    CONFORMER.exact_with("conv.batch_norm.running_mean", "conv_norm", FOLDED_NORM[2]),
    CONFORMER.exact_with("conv.batch_norm.running_var", "conv_norm", FOLDED_NORM[3]),
    exact_with("conformer.pre_encode.conv.{}.bias", "a.conv1d.{}.bias", PLANES),
    CONFORMER.exact_with("conv.depthwise_conv.weight", "conv_dw.weight", SQUEEZED),
    CONFORMER.exact_with("conv.pointwise_conv1.weight", "conv_pw1.weight", SQUEEZED),
    CONFORMER.exact_with("conv.pointwise_conv2.weight", "conv_pw2.weight", SQUEEZED),
];
