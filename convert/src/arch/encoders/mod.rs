//! Encoders of images and sound with the projectors that lead to a text model (`--mmproj`): one file a family, the
//! names of their tensors in `names`, their common keys in `keys`.
//!
//! The configuration of a family is that of its first encoder; [`Hparams::whole`] is that of the model around it,
//! [`Hparams::audio`] that of the encoder of sound. Where they stand, the hooks `vision` and `audio` say.

mod cogvlm;
mod deepseek;
mod dots;
mod dots3;
mod gemma;
mod gemma3n;
mod gemma4;
mod glm;
mod granite;
mod hunyuan;
mod idefics3;
mod intern_vl;
mod janus;
mod keys;
mod kimi;
mod lfm2;
mod llama4;
mod mimo;
mod minicpm;
mod minimax;
mod muse;
mod names;
mod nemotron;
mod omni;
mod paddle;
mod parts;
mod phi;
mod pixtral;
mod pockettts;
mod qwen2vl;
mod qwen3tts;
mod qwen3vl;
mod step;
mod whisper;
mod youtu;

use std::path::Path;

use gguf::TensorType;
use serde_json::{Map, Value};

use super::rules::multimodal::{class_of, complete_parts};
use super::{Architecture, Beside, Class, Hooks, Hparams, Named, PLAIN};
use crate::{Error, Result};

/// Encoders by the class of the whole model, in the order in which `convert --list` prints them.
pub(crate) static ENCODERS: &[&Architecture] = &[
    &pixtral::PIXTRAL,
    &gemma::GEMMA3,
    &idefics3::IDEFICS3,
    &qwen2vl::QWEN2VL,
    &qwen2vl::QWEN2_5VL,
    &qwen3vl::QWEN3VL,
    &qwen3vl::QWEN3VL_MOE,
    &qwen3vl::QWEN3_5,
    &kimi::KIMI_VL,
    &llama4::LLAMA4,
    &lfm2::LFM2_VL,
    &intern_vl::INTERN_VL,
    &whisper::QWEN2_AUDIO,
    &whisper::ULTRAVOX,
    &whisper::VOXTRAL,
    &whisper::AUDIO_FLAMINGO,
    &whisper::MERALION,
    &whisper::GLM_ASR,
    &qwen2vl::EXAONE4_5,
    &qwen3vl::LING3,
    &glm::GLM4V,
    &glm::GLM_OCR,
    &glm::GLM5_NEXT,
    &kimi::KIMI_K2_5,
    &pixtral::LIGHT_ON_OCR,
    &minicpm::MINICPM_V,
    &deepseek::OCR,
    &deepseek::UNLIMITED_OCR,
    &deepseek::OCR2,
    &deepseek::DEEPSEEK_V4,
    &dots::DOTS_OCR,
    &paddle::PADDLE_OCR,
    &janus::JANUS,
    &cogvlm::COGVLM,
    &step::STEP_VL,
    &hunyuan::HUNYUAN_VL,
    &youtu::YOUTU_VL,
    &minimax::MINIMAX_M3,
    &muse::MUSE_GLIMMER,
    &omni::QWEN2_5_OMNI,
    &omni::QWEN3_OMNI,
    &omni::QWEN3_ASR,
    &gemma3n::GEMMA3N,
    &gemma4::GEMMA4,
    &gemma4::GEMMA4_UNIFIED,
    &granite::SPEECH,
    &granite::SPEECH_PLUS,
    &granite::VISION,
    &lfm2::LFM2_AUDIO,
    &phi::PHI4,
    &nemotron::NEMOTRON_NANO_VL,
    &mimo::MIMO_V2,
    &dots3::DOTS3_NOTE,
    &qwen3tts::QWEN3_TTS,
    &pockettts::POCKET_TTS,
];

/// `general.architecture` of every encoder.
pub(super) const CLIP: &str = "clip";

/// The defaults of an encoder of images.
const ENCODER: Architecture = Architecture {
    gguf: CLIP,
    rules: &[names::VISION],
    hooks: HOOKS,
    ..PLAIN
};

const HOOKS: Hooks = Hooks {
    force: |_, name, ty| convolution(name, ty),
    ..Hooks::NONE
};

/// The encoder of a directory and the class that it is found by.
pub(crate) fn find(
    config_path: &Path,
    config: &Map<String, Value>,
) -> Result<(&'static Architecture, &'static Class)> {
    let inner = config.get("vision_config").and_then(Value::as_object);
    let inner = inner.and_then(class_of);
    let whole = class_of(config);
    let name = inner.or(whole).ok_or_else(|| super::no_class(config_path))?;
    for name in [inner, whole].into_iter().flatten() {
        for encoder in ENCODERS {
            if let Some(class) = encoder.classes.iter().find(|c| c.name == name) {
                return Ok((encoder, class));
            }
        }
    }
    let known = ENCODERS.iter().flat_map(|e| e.classes).map(|c| c.name);
    let near = super::nearest::of(name, known.clone());
    Err(Error::input(
        config_path,
        format!(
            "architectures: {name} has no encoder that is supported, expected one of the {} built-in classes{}; a further one \
             is a file in the source code's convert/src/arch/encoders/",
            known.count(),
            super::nearest::phrase(&near),
        ),
    ))
}

/// The completed configuration of the encoder, inside that of the model around it.
pub(crate) fn configuration(
    architecture: &'static Architecture,
    config_path: &Path,
    mut config: Map<String, Value>,
) -> Result<Hparams> {
    complete_parts(&mut config);
    let hooks = &architecture.hooks;
    let mut audio = (hooks.audio)(&config);
    let mut of_audio = config_path.to_path_buf();
    if let Some(Beside { folder, .. }) = hooks.beside.filter(|beside| beside.is_sound) {
        of_audio = config_path.with_file_name(folder).join("config.json");
        audio = Some(crate::json::read_object(&of_audio)?);
    }
    let vision = (hooks.vision)(&config);
    let is_second = vision.is_some();
    let Some(mut first) = vision.or_else(|| audio.clone()) else {
        return Err(Error::input(
            config_path,
            format!(
                "expected the configuration of an encoder, which {} has in vision_config or beside it, found none",
                class_of(&config).unwrap_or("such a model")
            ),
        ));
    };
    if let Some(default) = architecture.model_types.first() {
        first.entry("model_type").or_insert(default.name.into());
    }
    let mut first = super::complete(first);
    Hparams::name_blocks(&mut first);
    (hooks.prepare)(&mut first);
    let mut hparams = Hparams::new(config_path.to_path_buf(), first)?;
    let second = audio.filter(|_| is_second).map(super::complete);
    let second = second.map(|values| (of_audio, values));
    hparams.inside_of(config, second);
    Ok(hparams)
}

/// A tensor of the encoder or the projector, without the outer module that newer directories have.
fn encoder_name(name: String) -> Option<String> {
    let inner = name.strip_prefix("model.").unwrap_or(&name);
    let is_own = ["multi_modal_projector.", "vision_tower."]
        .iter()
        .any(|p| inner.starts_with(p));
    is_own.then(|| inner.to_owned())
}

/// Convolutions over patches are never quantized.
pub(super) fn convolution(name: Named<'_>, ty: TensorType) -> Option<TensorType> {
    let is_one = [".patch_embd.weight", ".patch_merger.weight"];
    let is_one = is_one.iter().any(|part| name.gguf.contains(part));
    is_one.then(|| short_or_exact(ty))
}

/// F16 where all is F16, else F32.
fn short_or_exact(ty: TensorType) -> TensorType {
    match ty {
        TensorType::F16 => TensorType::F16,
        _ => TensorType::F32,
    }
}

/// Convolutions over sound are F16, whatever the others are.
fn sound_convolution(name: Named<'_>, ty: TensorType) -> Option<TensorType> {
    let is_one = name.stored.contains(".conv") && name.stored.contains(".weight");
    match is_one {
        true => Some(TensorType::F16),
        false => convolution(name, ty),
    }
}

/// Embeddings of patches and of positions, which some encoders keep in F32.
fn embeddings(name: Named<'_>) -> Option<TensorType> {
    matches!(name.gguf, "v.patch_embd.weight" | "v.position_embd.weight").then_some(TensorType::F32)
}
