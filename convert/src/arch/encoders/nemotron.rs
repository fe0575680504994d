//! Nemotron Nano VL: RADIO, whose positions are those of larger images, and Parakeet where it listens too.

use gguf::TensorType;
use serde_json::{Map, Value};

use super::keys::{audio_keys, preprocessor, vision_keys_by, whole_part};
use super::parts::{POINTWISE, by_colours};
use super::{ENCODER, convolution, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, Keys, Named, View, class};

pub(super) static NEMOTRON_NANO_VL: Architecture = Architecture {
    classes: &[class("NemotronH_Nano_VL_V2"), class("RADIOModel")],
    rules: &[RULES, names::VISION, names::AUDIO],
    hyperparameters,
    hooks: Hooks {
        vision,
        audio: |whole| whole.get("sound_config")?.as_object().cloned(),
        canonical: |_, name| own_name(name),
        force: |_, name, ty| kept_exact(name).or_else(|| convolution(name, ty)),
        ..Hooks::NONE
    },
    ..ENCODER
};

/// The numbers of RADIO 2.5 of size H, which its configuration does not have.
const RADIO: [(&str, u32); 4] = [
    ("hidden_size", 1280),
    ("intermediate_size", 5120),
    ("num_hidden_layers", 32),
    ("num_attention_heads", 16),
];
/// Side of an image where the configuration does not say.
const SIDE: u32 = 512;

/// Means and deviations of a preprocessor that has none.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

const EPSILON: f32 = 1e-6;
const EPSILON_OF_SOUND: f32 = 1e-5;

fn vision(whole: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut config = whole.get("vision_config")?.as_object()?.clone();
    for (key, number) in RADIO {
        config.insert(key.to_owned(), number.into());
    }
    let side = whole.get("force_image_size").cloned();
    config.insert("image_size".to_owned(), side.unwrap_or(SIDE.into()));
    Some(config)
}

/// Tensors of the encoders and projectors, without those that normalize images or see videos.
fn own_name(mut name: String) -> Option<String> {
    let own = [
        "vision_model.radio_model.model.",
        "mlp1.",
        "sound_encoder.",
        "sound_projection.",
    ];
    let others = [
        "language_model.",
        "input_conditioner",
        "radio_model.model.patch_generator.video_embedder",
    ];
    let is_own = own.iter().any(|p| name.starts_with(p)) && !others.iter().any(|p| name.contains(p));
    // Counts of the batches of a training.
    if !is_own || name.contains("conv.norm") && name.contains("num_batches") {
        return None;
    }
    if name.ends_with("patch_generator.pos_embed") {
        name.push_str(".weight");
    }
    Some(name)
}

const CONFORMER: Scope = Scope::new("sound_encoder.encoder.layers.{}", "a.blk.{}");

const RULES: &[Rule] = &[
    exact_with(
        "vision_model.radio_model.model.patch_generator.pos_embed.weight",
        "v.position_embd.weight",
        Transform::Grid(|hp| Ok(u64::from(hp.u32(&["image_size"])?) / patch_side(hp)?.max(1))),
    ),
    exact_with(
        "vision_model.radio_model.model.patch_generator.embedder.weight",
        "v.patch_embd.weight",
        Transform::View(|hp, view| Ok(by_colours(view, patch_side(hp)?)), None),
    ),
    exact_with(
        "sound_encoder.encoder.subsampling.layers.{}.bias",
        "a.conv1d.{}.bias",
        OF_CHANNELS,
    ),
    CONFORMER.exact_with(
        "conv.depthwise_conv.weight",
        "conv_dw.weight",
        Transform::View(|_, view| Ok(depthwise(view)), None),
    ),
    CONFORMER.exact_with("conv.pointwise_conv1.weight", "conv_pw1.weight", POINTWISE),
    CONFORMER.exact_with("conv.pointwise_conv1.bias", "conv_pw1.bias", OF_CHANNELS),
    CONFORMER.exact_with("conv.pointwise_conv2.weight", "conv_pw2.weight", POINTWISE),
    CONFORMER.exact_with("conv.pointwise_conv2.bias", "conv_pw2.bias", OF_CHANNELS),
];

fn patch_side(hp: &Hparams) -> Result<u64> {
    Ok(hp.u32(&["patch_size"])?.into())
}

/// A bias of channels, to be added to pictures of one sample.
const OF_CHANNELS: Transform = Transform::View(
    |_, view| {
        let length = view.len();
        Ok(view.shaped(&[1, length, 1, 1]))
    },
    None,
);

/// A convolution of channels by themselves, for pictures.
fn depthwise(view: View) -> Option<View> {
    let &[channels, 1, width] = &view.shape()[..] else {
        return None;
    };
    view.shaped(&[1, 1, channels, width])
}

/// Of sound, what is neither a matrix nor a vector of one stays as it is.
fn kept_exact(name: Named<'_>) -> Option<TensorType> {
    let is_of_sound = name.stored.contains("sound_encoder") || name.gguf.starts_with("mm.a.");
    let has = |part| name.gguf.contains(part);
    let is_exact = has("bias") || has("norm") || has("conv") && has("weight");
    (is_of_sound && is_exact).then_some(TensorType::F32)
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let mut processor = preprocessor(keys.dir)?;
    for (key, numbers) in [("image_mean", MEAN), ("image_std", DEVIATION)] {
        processor.entry(key).or_insert_with(|| numbers.as_slice().into());
    }
    if hp.has_both() {
        let sound = hp.audio();
        keys.set("audio.num_mel_bins", sound.u32(&["num_mel_bins"])?);
        keys.set("audio.attention.layer_norm_epsilon", EPSILON_OF_SOUND);
        keys.set("audio.subsampling_factor", sound.u32(&["subsampling_factor"])?);
        keys.set("audio.conv_kernel_size", sound.u32(&["conv_kernel_size"])?);
        keys.set("audio.projector_type", "parakeet");
        keys.set("vision.projector_type", PROJECTOR);
        vision_keys_by(hp, keys, &processor)?;
        audio_keys(hp, keys)?;
    } else {
        keys.set("projector_type", PROJECTOR);
        vision_keys_by(hp, keys, &processor)?;
    }
    keys.set("vision.attention.layer_norm_epsilon", EPSILON);
    keys.set("use_gelu", true);
    let ratio = hp.whole().opt_f64(&["downsample_ratio"])?.unwrap_or(0.5);
    keys.set("vision.projector.scale_factor", whole_part(hp, 1.0 / ratio)?);
    Ok(())
}

const PROJECTOR: &str = "nemotron_v2_vl";
