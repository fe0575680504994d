//! Encoders of sound that are Whisper's: Qwen2-Audio, Ultravox, Voxtral, Audio Flamingo 3, MERaLiON 2, GLM-ASR.

use gguf::TensorType;
use serde_json::{Map, Value};

use super::keys::{audio_keys, whisper_keys};
use super::parts::COLUMN;
use super::{ENCODER, convolution, names, sound_convolution};
use crate::Result;
use crate::arch::rules::names::{Rule, Transform, copy, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, View, class};

/// The parts that they have in common.
const WHISPER: Architecture = Architecture {
    rules: &[WHISPER_RULES, names::AUDIO],
    hooks: Hooks {
        vision: |_| None,
        audio: audio_section,
        canonical: |_, name| own_name(name),
        force: |_, name, ty| sound_convolution(name, ty),
        ..Hooks::NONE
    },
    ..ENCODER
};

pub(super) static QWEN2_AUDIO: Architecture = Architecture {
    classes: &[class("Qwen2AudioForConditionalGeneration")],
    hyperparameters: |hp, keys| keys_of(hp, keys, "qwen2a"),
    model_types: &[&QWEN2_AUDIO_TYPE],
    ..WHISPER
};

pub(super) static ULTRAVOX: Architecture = Architecture {
    classes: &[class("UltravoxModel")],
    hyperparameters: |hp, keys| {
        keys_of(hp, keys, "ultravox")?;
        keys.set("audio.projector.stack_factor", hp.whole().u32(&["stack_factor"])?);
        Ok(())
    },
    model_types: &[&WHISPER_TYPE],
    ..WHISPER
};

pub(super) static VOXTRAL: Architecture = Architecture {
    classes: &[class("VoxtralForConditionalGeneration")],
    hyperparameters: |hp, keys| {
        keys_of(hp, keys, "voxtral")?;
        // The inner width, in widths.
        keys.set("audio.projector.stack_factor", 4u32);
        Ok(())
    },
    model_types: &[&VOXTRAL_TYPE],
    ..WHISPER
};

pub(super) static AUDIO_FLAMINGO: Architecture = Architecture {
    classes: &[class("AudioFlamingo3ForConditionalGeneration")],
    hyperparameters: |hp, keys| keys_of(hp, keys, "musicflamingo"),
    hooks: Hooks {
        // Trained in BF16, whose range F16 does not have.
        force: |_, name, ty| match sound_convolution(name, ty) {
            Some(TensorType::F16) if convolution(name, ty).is_none() => Some(TensorType::F32),
            other => other,
        },
        ..WHISPER.hooks
    },
    ..WHISPER
};

pub(super) static MERALION: Architecture = Architecture {
    classes: &[class("MERaLiON2ForConditionalGeneration")],
    rules: &[MERALION_RULES, WHISPER_RULES, names::AUDIO],
    hyperparameters: |hp, keys| {
        keys_of(hp, keys, "meralion")?;
        let factor = hp.whole().opt_u32(&["speech_mlp_scale_factor"])?;
        keys.set("audio.projector.stack_factor", factor.unwrap_or(15));
        Ok(())
    },
    model_types: &[&WHISPER_TYPE],
    hooks: Hooks {
        audio: |whole| whole.get("speech_config")?.as_object().cloned(),
        canonical: |_, name| match name.starts_with("text_decoder.") {
            true => None,
            false => own_name(name.replace("speech_encoder.", "audio_tower.")),
        },
        ..WHISPER.hooks
    },
    ..WHISPER
};

pub(super) static GLM_ASR: Architecture = Architecture {
    classes: &[class("GlmasrModel")],
    rules: &[GLM_ASR_RULES, WHISPER_RULES, names::AUDIO],
    hyperparameters: |hp, keys| {
        keys_of(hp, keys, "glma")?;
        keys.set("audio.projector.stack_factor", hp.whole().u32(&["merge_factor"])?);
        Ok(())
    },
    model_types: &[&WHISPER_TYPE],
    hooks: Hooks {
        canonical: |_, name| glm_name(name),
        ..WHISPER.hooks
    },
    ..WHISPER
};

/// The encoder's configuration, which stands under one of two keys.
fn audio_section(whole: &Map<String, Value>) -> Option<Map<String, Value>> {
    let section = whole.get("whisper_config").or_else(|| whole.get("audio_config"));
    section?.as_object().cloned()
}

/// A tensor that is not the text model's, under names of its own where images have a projector too.
fn own_name(name: String) -> Option<String> {
    if name.contains("language_model.") {
        return None;
    }
    Some(match name.starts_with("multi_modal_projector") {
        true => format!("audio.{name}"),
        false => name,
    })
}

fn glm_name(mut name: String) -> Option<String> {
    if name.starts_with("model.") || name.starts_with("lm_head.") || name.contains("language_model.") {
        return None;
    }
    if let Some(inner) = name.strip_prefix("audio_encoder.whisper.") {
        name = format!("audio_tower.{inner}");
    }
    if name.contains("audio_encoder.layer_norm.") || name.contains("audio_encoder.proj.") {
        name = name.replace("audio_encoder.", "audio_encoder.adapting.");
    }
    if let Some(inner) = name.strip_prefix("audio_encoder.adapting.") {
        // Read by no one.
        if inner.starts_with("proj.") {
            return None;
        }
        name = format!("audio.multi_modal_projector.{inner}");
        for (from, to) in [
            (".layer_norm.", ".ln_pre."),
            (".0.", ".linear_1."),
            (".2.", ".linear_2."),
        ] {
            name = name.replace(from, to);
        }
    }
    Some(name)
}

const WHISPER_RULES: &[Rule] = &[
    exact_with("audio_tower.conv1.bias", "a.conv1d.1.bias", COLUMN),
    exact_with("audio_tower.conv2.bias", "a.conv1d.2.bias", COLUMN),
];

const MERALION_RULES: &[Rule] = &[
    copy("ln_speech", "mm.a.norm_pre"),
    copy("speech_audio_adapter.mlp_adapter.0", "mm.a.mlp.0"),
    copy("speech_audio_adapter.gate_proj", "mm.a.mlp.1"),
    copy("speech_audio_adapter.pool_proj", "mm.a.mlp.2"),
    copy("speech_audio_adapter.out_proj", "mm.a.mlp.3"),
];

const GLM_ASR_RULES: &[Rule] = &[
    exact_with(
        "audio_encoder.audio_bos_eos_token.weight",
        "v.boi",
        Transform::View(|_, v| Ok(row(v, 0)), None),
    ),
    exact_with(
        "audio_encoder.audio_bos_eos_token.weight",
        "v.eoi",
        Transform::View(|_, v| Ok(row(v, 1)), None),
    ),
];

/// One row of a matrix as a vector.
fn row(view: View, which: u64) -> Option<View> {
    view.cut(0, which, 1)?.without(0)
}

fn keys_of(hp: &Hparams, keys: &mut Keys<'_>, projector: &str) -> Result<()> {
    audio_keys(hp, keys)?;
    keys.set("projector_type", projector);
    whisper_keys(hp, keys)
}

/// Whisper's own encoder.
static WHISPER_TYPE: ModelType = ModelType::unrotated("whisper");

static QWEN2_AUDIO_TYPE: ModelType = ModelType::unrotated("qwen2_audio_encoder");

static VOXTRAL_TYPE: ModelType = ModelType::unrotated("voxtral_encoder");
