//! The encoders of Qwen2.5-Omni, Qwen3-Omni and Qwen3-ASR: Qwen's of images beside Whisper's of sound, whose positions
//! are computed.

use serde_json::{Map, Value};

use super::keys::{audio_keys, vision_keys, whisper_keys};
use super::parts::{COLUMN, FRAMES_OF_PATCHES, PLANES};
use super::{ENCODER, names, qwen2vl, qwen3vl, sound_convolution};
use crate::Result;
use crate::arch::rules::hooks::Table;
use crate::arch::rules::names::{Rule, exact_with};
use crate::arch::{Architecture, Hooks, Hparams, ModelType, class};

pub(super) static QWEN2_5_OMNI: Architecture = Architecture {
    classes: &[class("Qwen2_5OmniModel")],
    rules: &[
        qwen2vl::SPLIT,
        FRAMES_OF_PATCHES,
        COLUMNS,
        names::VISION,
        names::AUDIO,
    ],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        audio_keys(hp, keys)?;
        whisper_keys(hp, keys)?;
        keys.set("projector_type", "qwen2.5o");
        qwen2vl::windowed_keys(hp, keys)
    },
    model_types: &[&OMNI_VISION, &OMNI_AUDIO],
    hooks: Hooks {
        prepare: qwen2vl::rename,
        canonical: |_, name| {
            let name = name.replace("thinker.", "");
            let is_own = ["visual.", "audio_tower."].iter().any(|p| name.starts_with(p));
            // transformers does not use it.
            (is_own && !name.contains("audio_bos_eos_token")).then_some(name)
        },
        ..HOOKS
    },
    ..ENCODER
};

pub(super) static QWEN3_OMNI: Architecture = Architecture {
    classes: &[class("Qwen3OmniMoeForConditionalGeneration")],
    rules: &[
        OMNI3_RULES,
        qwen3vl::RULES,
        FRAMES_OF_PATCHES,
        names::VISION,
        names::AUDIO,
    ],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        audio_keys(hp, keys)?;
        whisper_keys(hp, keys)?;
        qwen3vl::own_keys(hp, keys)?;
        keys.set("vision.projector_type", "qwen3vl_merger");
        keys.set("audio.projector_type", "qwen3a");
        Ok(())
    },
    model_types: &[&OMNI3_VISION, &OMNI3_AUDIO],
    hooks: Hooks {
        prepare: qwen3vl::QWEN3VL.hooks.prepare,
        canonical: omni3_name,
        ..HOOKS
    },
    ..ENCODER
};

pub(super) static QWEN3_ASR: Architecture = Architecture {
    classes: &[class("Qwen3ASRForConditionalGeneration")],
    rules: &[OMNI3_RULES, names::AUDIO],
    hyperparameters: |hp, keys| {
        audio_keys(hp, keys)?;
        whisper_keys(hp, keys)?;
        keys.set("audio.projector_type", "qwen3a");
        Ok(())
    },
    hooks: Hooks {
        vision: |_| None,
        canonical: |hp, name| omni3_name(hp, name).filter(|name| name.starts_with("audio_tower.")),
        ..HOOKS
    },
    ..ENCODER
};

const HOOKS: Hooks = Hooks {
    vision: |whole| section(whole, "vision_config"),
    audio: |whole| section(whole, "audio_config"),
    tables: |hp| Ok(vec![positions(hp.audio())?]),
    force: |_, name, ty| sound_convolution(name, ty),
    ..Hooks::NONE
};

/// A part of the configuration of the model that listens.
fn section(whole: &Map<String, Value>, key: &str) -> Option<Map<String, Value>> {
    whole.get("thinker_config")?.get(key)?.as_object().cloned()
}

const COLUMNS: &[Rule] = &[
    exact_with("audio_tower.conv1.bias", "a.conv1d.1.bias", COLUMN),
    exact_with("audio_tower.conv2.bias", "a.conv1d.2.bias", COLUMN),
];

const OMNI3_RULES: &[Rule] = &[
    exact_with("audio_tower.conv2d1.bias", "a.conv2d.1.bias", PLANES),
    exact_with("audio_tower.conv2d2.bias", "a.conv2d.2.bias", PLANES),
    exact_with("audio_tower.conv2d3.bias", "a.conv2d.3.bias", PLANES),
];

/// A name as Qwen3-VL has it, whose mergers the model that listens calls otherwise.
fn omni3_name(hp: &Hparams, name: String) -> Option<String> {
    let inner = name.strip_prefix("thinker.").unwrap_or(&name);
    let inner = inner.strip_prefix("model.").unwrap_or(inner);
    if inner.starts_with("audio_tower.") {
        return Some(inner.to_owned());
    }
    let mut inner = inner
        .strip_prefix("visual.")
        .map(|rest| format!("visual.{rest}"))?;
    if inner.contains(".merger_list.") || inner.contains(".merger.") {
        for (from, to) in [
            (".merger_list.", ".deepstack_merger_list."),
            (".ln_q", ".norm"),
            (".mlp.0", ".linear_fc1"),
            (".mlp.2", ".linear_fc2"),
        ] {
            inner = inner.replace(from, to);
        }
    }
    Some(qwen3vl::numbered_by_block(hp, &inner))
}

/// Frames that have a position.
const FRAMES: u32 = 1500;
/// Longest period of a position's waves.
const LONGEST: f64 = 10000.0;
/// Most numbers of a position.
const MOST_CHANNELS: u32 = 1 << 16;

/// Sines, then cosines, of each frame's number at falling frequencies. Rounded correctly: the stock converter's are those
/// of the vector instructions that it runs on.
fn positions(audio: &Hparams) -> Result<Table> {
    let channels = audio.u32(&["d_model"])?;
    if !(4..=MOST_CHANNELS).contains(&channels) || channels % 2 != 0 {
        return Err(audio.error(format!(
            "d_model: expected an even number from 4 to {MOST_CHANNELS}, found {channels}"
        )));
    }
    let step = (LONGEST.ln() / f64::from(channels / 2 - 1)) as f32;
    let frequencies: Vec<f32> = (0..channels / 2)
        .map(|at| f64::from(-step * at as f32).exp() as f32)
        .collect();
    let mut values = Vec::with_capacity((FRAMES * channels) as usize);
    for frame in 0..FRAMES {
        let angles = frequencies.iter().map(|f| f64::from(frame as f32 * f));
        values.extend(angles.clone().map(|angle| angle.sin() as f32));
        values.extend(angles.map(|angle| angle.cos() as f32));
    }
    Ok(Table {
        name: "a.position_embd.weight",
        shape: vec![u64::from(channels), u64::from(FRAMES)],
        values,
    })
}

static OMNI_VISION: ModelType = ModelType::unrotated("qwen2_5_omni_vision_encoder");

static OMNI_AUDIO: ModelType = ModelType::unrotated("qwen2_5_omni_audio_encoder");

static OMNI3_VISION: ModelType = ModelType::unrotated("qwen3_omni_moe_vision_encoder");

static OMNI3_AUDIO: ModelType = ModelType::unrotated("qwen3_omni_moe_audio_encoder");
