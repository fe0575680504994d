//! dots 3 note: an encoder of images whose blocks have experts, more of them the later, and one of sound.

use gguf::{Array, TensorType, Value as GgufValue};
use serde_json::{Map, Value};

use super::keys::{audio_keys, preprocessor, required, vision_keys_by};
use super::parts::HALVES;
use super::{ENCODER, convolution, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, kept, rule};
use crate::arch::{Architecture, Hooks, Hparams, Keys, Named, class};

pub(super) static DOTS3_NOTE: Architecture = Architecture {
    classes: &[
        class("Dots3NoteForCausalLM"),
        class("Dots3NoteForConditionalGeneration"),
    ],
    rules: &[RULES, names::VISION, names::AUDIO],
    hyperparameters,
    hooks: Hooks {
        prepare: |config| {
            // Another key has the adapter's width, and images have any size.
            if let Some(width) = config.get("embed_dim").cloned() {
                config.insert("hidden_size".to_owned(), width);
            }
            config.insert("image_size".to_owned(), 0.into());
        },
        audio: sound,
        canonical: |_, name| own_name(name),
        experts: |hp, block| Ok(Some(experts(hp)?.get(block as usize).copied().unwrap_or(0))),
        force: |_, name, ty| kept_exact(name).or_else(|| convolution(name, ty)),
        ..Hooks::NONE
    },
    ..ENCODER
};

/// The configuration of sound, with the numbers of the encoder inside it under the usual names.
fn sound(whole: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut config = whole.get("audio_config")?.as_object()?.clone();
    let inner = config.get("whisper_config").and_then(Value::as_object).cloned();
    let inner = inner.unwrap_or_default();
    for (key, own) in [
        ("hidden_size", "d_model"),
        ("intermediate_size", "encoder_ffn_dim"),
        ("num_attention_heads", "encoder_attention_heads"),
        ("num_hidden_layers", "encoder_layers"),
    ] {
        match inner.get(own) {
            Some(number) => config.insert(key.to_owned(), number.clone()),
            None => config.shift_remove(key),
        };
    }
    Some(config)
}

fn own_name(mut name: String) -> Option<String> {
    let is_own = name.starts_with("vision_encoder.") || name.starts_with("audio_encoder.");
    if !is_own || name.contains("language_model.") {
        return None;
    }
    if name.ends_with(".gate_weight") || name.ends_with(".router_bias") {
        name.push_str(".weight");
    }
    Some(name)
}

const EXPERT: Scope = Scope::new("vision_encoder.blocks.{}.mlp.experts.{e}", "v.blk.{}");

const RULES: &[Rule] = &[
    EXPERT.rule("fc1", "ffn_gate_exps", Transform::Expert),
    EXPERT.rule("fc2", "ffn_down_exps", Transform::Expert),
    EXPERT.rule("fc3", "ffn_up_exps", Transform::Expert),
    // Of a gated layer, both halves.
    rule(
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.fc1",
        "a.blk.{}.ffn_gate",
        HALVES[0],
    ),
    rule(
        "audio_encoder.dots_encoder.speech_encoder.layers.{}.fc1",
        "a.blk.{}.ffn_up",
        HALVES[1],
    ),
    // The projector begins with a norm.
    kept("audio_encoder.audio_adapter.proj.0", "mm.a.norm_pre"),
];

/// Tensors that choose experts, whose scores are near each other, and convolutions over sound.
fn kept_exact(name: Named<'_>) -> Option<TensorType> {
    let parts = [".ffn_gate_inp.", ".exp_probs_b.", ".conv2d", "a.conv_out"];
    let is_one = parts.iter().any(|part| name.gguf.contains(part));
    is_one.then_some(TensorType::F32)
}

/// Experts of each block, of which there are none in those that are dense.
fn experts(hp: &Hparams) -> Result<Vec<u32>> {
    const KEY: &str = "pyramid_num_routed";
    let counts = hp.find(&[KEY]).and_then(Value::as_array);
    let counts = counts.ok_or_else(|| {
        hp.error(format!(
            "vision_config: {KEY}: expected a number of experts for each block, found none"
        ))
    })?;
    let count = |count: &Value| match count.as_i64() {
        Some(n) if n < 0 => Ok(0),
        _ => hp.to_u32(KEY, count),
    };
    counts.iter().map(count).collect()
}

/// A choice that llama.cpp's graph has made.
struct Fixed {
    key: &'static str,
    /// The value where the configuration does not say.
    default: Option<Value>,
    expected: Value,
}

fn fixed(key: &'static str, expected: impl Into<Value>) -> Fixed {
    let (default, expected) = (None, expected.into());
    Fixed {
        key,
        default,
        expected,
    }
}

/// The same, where it may be left unsaid.
fn usual(key: &'static str, expected: impl Into<Value>) -> Fixed {
    let expected = expected.into();
    Fixed {
        key,
        default: Some(expected.clone()),
        expected,
    }
}

/// Checks a part of the configuration, which stands under a name.
fn check(hp: &Hparams, part: &str, values: &Map<String, Value>, all: &[Fixed]) -> Result<()> {
    for choice in all {
        // What is null is as good as false.
        let is_off = |found: &&Value| found.is_null() && choice.expected == Value::Bool(false);
        let found = values.get(choice.key).filter(|found| !is_off(found));
        let found = found.or(choice.default.as_ref());
        // 1 and 1.0 are the same.
        let same = |found: &Value| {
            found == &choice.expected || found.is_number() && found.as_f64() == choice.expected.as_f64()
        };
        if !found.is_some_and(same) {
            let found = found.map_or("none".to_owned(), Value::to_string);
            return Err(hp.error(format!(
                "{part}: {}: expected {}, found {found}; llama.cpp's graph of dots 3 note has no other",
                choice.key, choice.expected
            )));
        }
    }
    Ok(())
}

fn check_all(hp: &Hparams) -> Result<()> {
    check(
        hp,
        "vision_config",
        hp.values(),
        &[
            fixed("adapter_type", "patch_merger"),
            fixed("pre_pixel_shuffle", true),
            usual("router_scoring_func", "sigmoid"),
            usual("router_scale", 1),
            usual("temporal_patch_size", 1),
            usual("use_bias", false),
            fixed("use_qk_norm", true),
        ],
    )?;
    let sound = hp.audio().values();
    check(
        hp,
        "audio_config",
        sound,
        &[
            fixed("use_conv2d_stem", true),
            fixed("use_rope", true),
            fixed("use_rms_norm", true),
            usual("use_causal", false),
            usual("merge_factor", 1),
            fixed("chunk_seconds", 60),
        ],
    )?;
    let none = Map::new();
    let inside = |key: &str| sound.get(key).and_then(Value::as_object).unwrap_or(&none);
    check(
        hp,
        "audio_config: whisper_config",
        inside("whisper_config"),
        &[fixed("activation_function", "swiglu")],
    )?;
    check(
        hp,
        "audio_config: rope_parameters",
        inside("rope_parameters"),
        &[fixed("partial_rotary_factor", 0.5), fixed("rope_theta", 10_000)],
    )
}

const EPSILON_OF_SOUND: f32 = 1e-6;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if !hp.has_both() {
        return Err(
            hp.error("expected a vision_config and an audio_config, found only one of them".to_owned())
        );
    }
    check_all(hp)?;
    let mut processor = preprocessor(keys.dir)?;
    let inner = processor.get("vision_config").and_then(Value::as_object).cloned();
    processor.extend(inner.into_iter().flatten());
    vision_keys_by(hp, keys, &processor)?;
    audio_keys(hp, keys)?;
    keys.set("vision.projector_type", "dots3note_v");
    keys.set("use_silu", true);
    keys.set("vision.attention.layer_norm_epsilon", hp.f32(&["rms_norm_eps"])?);
    keys.set("vision.spatial_merge_size", hp.u32(&["spatial_merge_size"])?);
    keys.set("vision.image_min_pixels", required(hp, &processor, "min_pixels")?);
    keys.set("vision.image_max_pixels", required(hp, &processor, "max_pixels")?);
    let counts = experts(hp)?
        .into_iter()
        .map(u32::cast_signed)
        .collect::<Vec<i32>>();
    if !counts.is_empty() {
        keys.set(
            "vision.expert_count_per_layer",
            GgufValue::Array(Array::I32(counts)),
        );
    }
    let used = hp.f64(&["capacity_factor"])?;
    if !(0.0..1e6).contains(&used) {
        return Err(hp.error(format!(
            "vision_config: capacity_factor: expected a number of experts, found {used}"
        )));
    }
    keys.set("vision.expert_used_count", used as u32);
    keys.set("audio.projector_type", "dots3note_a");
    let sound = hp.audio();
    let bins = sound.inside("whisper_config", "num_mel_bins")?;
    keys.set("audio.num_mel_bins", sound.to_u32("num_mel_bins", bins)?);
    keys.set("audio.attention.layer_norm_epsilon", EPSILON_OF_SOUND);
    Ok(())
}
